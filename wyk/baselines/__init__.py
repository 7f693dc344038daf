"""Generators to compare with.

- `BASELINES`: what they are called, how they are made, where their crystals are;
- `diffcsp`: DiffCSP without symmetry, which makes crystals at once.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__, ["diffcsp"], {"registry": ["BASELINES"]}
)
