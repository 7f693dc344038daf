"""Figures and tables for people.

- `save`, `save_data` and the figures of data and distributions, used as `plots.NAME`;
- `of_crystals`, `of_likelihood`, `of_starts`, `of_training`: the other figures by topic;
- `table1`: Table 1; `viewer`: crystals to turn.

`python -m wyk.plots.readme` writes measured numbers into the README, `python -m wyk.plots.reports` notebooks as pages.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    ["of_crystals", "of_likelihood", "of_starts", "of_training", "table1", "viewer"],
    {
        "base": [
            "crystal",
            "parameters",
            "properties",
            "save",
            "save_data",
            "space_groups",
            "tokens",
            "variants",
            "write",
        ]
    },
)
