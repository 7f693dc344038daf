"""Crystals are relaxed in what their symmetry leaves free, with a machine-learned potential.

- `relax`, `relax_all`: one crystal, or several side by side;
- `finish`: once more without symmetry; `loosened`: until no two atoms clash;
- `energy_per_atom`: of a crystal as it stands;
- `Crystal`, `primitive`, `with_operations`: a crystal with the operations that hold its symmetry;
- `springs`: usual distances and volumes, which untangle random starts.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    ["springs"],
    {
        "descent": [
            "FMAX",
            "KNOWN",
            "POTENTIAL",
            "Relaxed",
            "energy_per_atom",
            "finish",
            "loosened",
            "relax",
            "relax_all",
        ],
        "quotient_graph": ["bonds"],
        "symmetric_crystal": ["Crystal", "primitive", "with_operations"],
    },
)
