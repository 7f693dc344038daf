"""The network: a permutation-invariant Transformer over sets of sites.

- `checkpoint.load`: a trained model from its folder;
- `WyckoffTransformer`, `Ensemble`: the network, and several that predict as one;
- `encode`, `decode`, `tables`: representations as tokens, and back;
- `Charges`: whether charges can still be balanced.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    ["checkpoint"],
    {
        "charge_balance": ["Charges"],
        "ensemble": ["Ensemble"],
        "tokenization": [
            "Encoded",
            "Prefixes",
            "augment",
            "decode",
            "encode",
            "prefixes",
            "site_order",
            "tables",
        ],
        "transformer": ["Context", "WyckoffTransformer", "most_sites"],
    },
)
