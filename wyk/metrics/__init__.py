"""Table 1 and Table 2 of the paper, for any set of crystals.

- `evaluation.evaluate`: what `wyk evaluate` writes;
- `raw`, `charge_neutral`, `sieve`: metrics of representations;
- `novelty`: which crystals differ from one another, and from known ones;
- `published`: the paper's numbers, and the names of columns.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    ["evaluation", "novelty", "published"],
    {
        "distributions": ["charge_neutral", "raw", "sieve"],
        "published": ["DIFFCSP", "PAPER", "TEST", "WYCRYST"],
    },
)
