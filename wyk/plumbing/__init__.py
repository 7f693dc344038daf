"""How things are run: no result depends on it.

- `paths`: where everything is, and the one way a file gets its final name;
- `params`: every setting of every experiment, read from params.yaml;
- `workers`, `dask_workers`: one function of many arguments, in several processes or on a cluster.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    ["dask_workers", "params", "paths", "workers"],
    {
        "params": ["Diffusion", "Experiment", "Model", "Train", "Trial"],
        "paths": [
            "CACHE",
            "DATA",
            "FIGURES",
            "NOTEBOOKS",
            "ROOT",
            "alone",
            "figures",
            "run",
            "writing",
        ],
        "workers": ["Failed", "as_done", "in_order"],
    },
)
