"""Representations become crystals.

- `build`: a table of representations as relaxed crystals and CIFs; it resumes;
- `crystallise`: a single representation, the lowest energy of several draws.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    (),
    {"building": ["DRAWS", "build", "crystallise"]},
)
