"""How stable crystals are: energies above the convex hull of reference crystals.

- `Hull`: made of a table of energies, by default the shipped one (REFERENCE);
- `judged`: a table of crystals with energies above a hull; `stable`: which of them are;
- `reference_energies`: makes such tables, of crystals or of the Materials Project.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    ["reference_energies"],
    {"hull": ["Hull", "OPTIMISM", "REFERENCE", "judged", "stable"]},
)
