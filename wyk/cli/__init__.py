"""The ``wyk`` command; `main` has its entry point."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    ["main"],
)
