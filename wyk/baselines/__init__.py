"""Generators to compare with.

- `PLAIN`: without a model, random positions and substitution;
- `TRAINED`: WyCryst, retrained on known crystals;
- `diffcsp`: DiffCSP without symmetry, retrained.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__, ["diffcsp"], {"registry": ["PLAIN", "TRAINED"]}
)
