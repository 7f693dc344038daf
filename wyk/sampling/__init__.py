"""New representations from a trained model, free or under conditions.

- `sample`: what `wyk sample` draws, every one formally valid;
- `free_that_fulfil`: free samples that happen to meet conditions, for comparison;
- `sample_unconstrained`: the paper's way;
- `Conditions`: what samples can be asked for.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    (),
    {
        "conditions": ["Conditions"],
        "samples": ["free_that_fulfil", "sample", "sample_unconstrained"],
        "starts": ["GivenError"],
    },
)
