"""What every room stands on: what numbers mean, how sure they are, and networks on disk.

- `ELEMENTS`, `STABLE`, `IMPLAUSIBLE`, `FOUND`: what tables, figures and metrics share;
- `Estimate`: a value with n, interval and floor, made by `rate`, `mean`, `distance` and `bootstrap`;
- `ks`, `chi2`: distances between distributions;
- `weights`: networks and training states on disk, whatever the network.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    ["weights"],
    {
        "definitions": ["ELEMENTS", "FOUND", "IMPLAUSIBLE", "STABLE"],
        "estimates": ["Estimate", "bootstrap", "chi2", "distance", "ks", "mean", "rate"],
        "weights": ["CONFIG", "networks"],
    },
)
