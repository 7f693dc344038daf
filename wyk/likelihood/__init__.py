"""How likely crystals are to the model.

- `likelihood`: of each crystal of a table, over several orders of its sites;
- `set_log_p`, `log_orders`: of the set, over all orders;
- `divergence`: means, permutation KL and calibration of what `likelihood` wrote.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    ["divergence"],
    {
        "divergence": ["PAPER", "TABLE_2"],
        "sequences": ["likelihood", "log_p"],
        "sets": ["log_orders", "set_log_p"],
    },
)
