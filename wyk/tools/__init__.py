"""Commands that go through several rooms.

- `generation.generate`: new crystals in one go, with a page to look at;
- `comparison.compare`: Table 1 of several sets side by side.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    ["comparison", "generation"],
)
