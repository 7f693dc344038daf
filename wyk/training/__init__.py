"""A model learns from representations.

- `train`: an experiment's model, its members, distillation and calibration;
- `fit`, `of_data`: one network on some crystals, for trials.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    (),
    {"fitting": ["fit", "of_data"], "members": ["train"]},
)
