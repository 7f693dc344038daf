"""The generators to compare with: what they are called, how they are made, and where their crystals are."""

from collections.abc import Callable
from dataclasses import dataclass

from wyk.baselines import plain, wycryst


@dataclass(frozen=True)
class Baseline:
    """A generator to compare with.

    Args:
        label: in tables and figures.
        judged: its crystals one by one, as `wyk evaluate --judged` writes them, below the experiment's runs.
        samples: its representations, there; None if it makes crystals at once.
        generate: makes representations of known ones, given their number and a seed; None where a command of its
            own does.
        trained: whether that learns, is given a number of epochs, too, and says more about itself.
    """

    label: str
    judged: str
    samples: str | None = None
    generate: Callable | None = None
    trained: bool = False


BASELINES = {
    "random": Baseline(
        "random positions",
        "compare/random.parquet",
        "baselines/random.parquet",
        plain.random_positions,
    ),
    "substitution": Baseline(
        "substitution",
        "compare/substitution.parquet",
        "baselines/substitution.parquet",
        plain.substitution,
    ),
    "wycryst": Baseline(
        "WyCryst, retrained",
        "compare/wycryst.parquet",
        "wycryst/samples.parquet",
        wycryst.generate,
        trained=True,
    ),
    "diffcsp": Baseline("DiffCSP, retrained", "compare_diffcsp/crystals.parquet"),
}
