"""Whether two samples of crystals can come from one distribution: distance and p-value of eight properties."""

from collections.abc import Sequence

import numpy as np

from wyk.crystals.representation import WyckoffRepresentation
from wyk.crystals.spacegroups import space_group
from wyk.crystals.tables import to_table
from wyk.likelihood.sequences import likelihood
from wyk.metrics.distributions import atomic_fractions, charge_neutral, histogram
from wyk.model.ensemble import Ensemble
from wyk.model.transformer import WyckoffTransformer

SHUFFLES = 20_000  # of the two samples: the least p-value is one over it
BINS = 200  # of −log p, each as frequent
FEWEST = 5  # samples of a group or an element; rarer ones are counted together


def largest_step(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Kolmogorov–Smirnov distance of frequencies (..., k) over ordered values."""
    return np.abs(np.cumsum(a - b, axis=-1)).max(axis=-1)


def spread(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Σ (a − b)² / (a + b) of frequencies (..., k)."""
    return ((a - b) ** 2 / np.maximum(a + b, 1e-12)).sum(axis=-1)


def compare(
    ours: Sequence[WyckoffRepresentation],
    theirs: Sequence[WyckoffRepresentation],
    model: WyckoffTransformer | Ensemble,
    seed: int = 0,
    shuffles: int = SHUFFLES,
) -> dict[str, dict[str, float]]:
    """Distance, its median and 99.99% quantile if both came from one distribution, and p-value, by property.

    Args:
        ours, theirs: the two samples.
        model: that gives −log p, the mean over ten orders.
        seed: of the shuffles and orders.
        shuffles: random divisions of both samples together into two of their sizes.
    """
    both, n = [*ours, *theirs], len(ours)
    rng = np.random.default_rng(seed)
    nll = -likelihood(model, to_table(both), 10, seed)["log_p_mean"].to_numpy()
    cuts = np.quantile(nll, np.linspace(0, 1, BINS + 1)[1:-1])
    counts = {
        "sites": (largest_step, [len(r.letters) for r in both]),
        "elements": (largest_step, [len(set(r.elements)) for r in both]),
        "atoms": (
            largest_step,
            [r.n_atoms // space_group(r.space_group).lattice_points for r in both],
        ),
        "dof": (largest_step, [r.degrees_of_freedom for r in both]),
        "groups": (spread, [r.space_group for r in both]),
        "charge_neutrality": (largest_step, [charge_neutral(r.formula) for r in both]),
        "nll": (largest_step, np.searchsorted(cuts, nll)),
    }
    result = {}
    for name, (distance, values) in counts.items():
        features = histogram(values, int(max(values)) + 1)
        features = _together(features) if distance is spread else features
        totals = features.sum(0).astype(int)
        first = rng.multivariate_hypergeometric(totals, n, size=shuffles, method="marginals")
        shuffled = distance(first / n, (totals - first) / len(theirs))
        found = distance(features[:n].mean(0), features[n:].mean(0))
        result[name] = _judged(found, shuffled)
    shares = _together(atomic_fractions(both))
    labels = np.zeros((shuffles, len(both)), np.float32)
    labels[:, :n] = 1
    labels = rng.permuted(labels, axis=1)
    first = labels @ shares.astype(np.float32)
    shuffled = spread(first / n, (shares.sum(0) - first) / len(theirs))
    result["element_shares"] = _judged(spread(shares[:n].mean(0), shares[n:].mean(0)), shuffled)
    return result


def _together(features: np.ndarray) -> np.ndarray:
    """Features (n, k) without empty columns, rare ones summed up in one."""
    rare = features.sum(0) < FEWEST
    return np.column_stack([features[:, ~rare], features[:, rare].sum(1)])


def _judged(found: float, shuffled: np.ndarray) -> dict[str, float]:
    at_least = int((shuffled >= found - 1e-12).sum())
    return {
        "distance": float(found),
        "floor": float(np.median(shuffled)),
        "limit": float(np.quantile(shuffled, 0.9999)),
        "p": (1 + at_least) / (1 + len(shuffled)),
    }
