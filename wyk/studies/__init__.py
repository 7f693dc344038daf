"""The paper's experiments beyond its main path, one module each.

- `trials`: trainings that differ in a setting; `temperature`: samples over temperatures;
- `recovery`, `matching`: real crystals drawn again from their representations;
- `conditional`: crystals under conditions beside filtered ones; `stock_relaxer`: CHGNet's own optimiser beside ours;
- `summaries`: counts for the notebooks.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    ["conditional", "matching", "recovery", "stock_relaxer", "summaries", "temperature", "trials"],
)
