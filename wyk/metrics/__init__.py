"""Table 1 and Table 2 of the paper, for any set of crystals.

- `evaluation.evaluate`: what `wyk evaluate` writes;
- `raw`, `charge_neutral`, `sieve`: metrics of representations;
- `METRICS`: what is counted, and how tables show it;
- `novelty`: which crystals differ from one another, and from known ones;
- `PAPER`, `TEST`: the paper's numbers, and what tables call the test set.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    ["evaluation", "novelty", "published"],
    {
        "distributions": ["charge_neutral", "raw", "sieve"],
        "registry": ["METRICS", "Metric"],
        "published": ["PAPER", "TEST"],
    },
)
