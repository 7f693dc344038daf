"""Where coordinates start: random ones of pyXtal, or the end of a diffusion.

- `starts.draw`: draws of a representation from either;
- `pyxtal_start`: random crystals of a representation;
- `diffusion`, `diffusion_training`: denoised coordinates, and the training of the network;
- `Frame`, `Denoiser` and what belongs to them: parts that the baseline DiffCSP shares.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    ["diffusion", "diffusion_training", "pyxtal_start", "starts"],
    {"denoiser": ["Denoiser", "Graph"], "frames": ["BASIS", "Frame", "coefficients"]},
)
