"""Numbers with their intervals and floors: rates, and distances between distributions."""

from collections.abc import Callable, Sequence

import numpy as np
from scipy.stats import binomtest

RESAMPLES = 1000
FLOOR_SAMPLES = 20


def wilson(numerator: int, denominator: int) -> list[float] | None:
    """95% interval of a rate (Wilson, 1927), None without a denominator."""
    if denominator == 0:
        return None
    return [*map(float, binomtest(numerator, denominator).proportion_ci(method="wilson"))]


def rate(hits: Sequence[bool] | np.ndarray, denominator: int | None = None) -> dict:
    """A rate as an entry.

    Args:
        hits: one bool each.
        denominator: what the hits are counted over, if that is not their number.
    """
    numerator = int(np.sum(hits))
    denominator = len(hits) if denominator is None else denominator
    return {
        "value": numerator / denominator if denominator else None,
        "n": denominator,
        "interval": wilson(numerator, denominator),
        "numerator": numerator,
        "denominator": denominator,
    }


def bootstrap(
    features: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray], seed: int
) -> dict:
    """A statistic of the mean features of a sample, as an entry.

    The interval is the 95% range of the statistic over resampled samples, moved so that its mean is the value.
    Distances between frequencies grow when noise is added, and resampling adds noise once more: the move takes
    that second bias away. What remains is the uncertainty at this n, to be compared with the floor at this n.

    Args:
        features: (n, k), one row per sample.
        statistic: (..., k) mean features → (...).
        seed: of the resampling.
    """
    n = len(features)
    value = float(statistic(features.mean(axis=0))) if n else np.nan
    if not np.isfinite(value):
        return {"value": None, "n": n, "interval": None}
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(n, np.full(n, 1 / n), size=RESAMPLES) / n  # (resamples, n)
    resampled = statistic(weights @ features)
    low, high = np.nanpercentile(resampled, [2.5, 97.5]) - np.nanmean(resampled) + value
    return {"value": value, "n": n, "interval": [float(low), float(high)]}


def mean(values: Sequence[float] | np.ndarray, seed: int) -> dict:
    """The mean of n values as an entry."""
    return bootstrap(np.asarray(values, float)[:, None], lambda means: means[..., 0], seed)


def distance(
    generated: np.ndarray,
    test: np.ndarray,
    floor: np.ndarray,
    statistic: Callable[[np.ndarray, np.ndarray], np.ndarray],
    seed: int,
) -> dict:
    """A distance from generated to test crystals, as an entry with its floor.

    The floor is what as many real crystals score: the mean distance of random subsets of `floor`, n rows each
    or all of them where there are fewer; `floor_n` says how many.

    Args:
        generated: (n, k) features, averaged over rows before they are compared.
        test: (m, k).
        floor: (l, k), real crystals that are not in `test`.
        statistic: `ks` or `chi2`.
        seed: of bootstrap and subsets.
    """
    target = test.mean(axis=0)
    entry = bootstrap(generated, lambda means: statistic(means, target), seed)
    if entry["interval"]:
        entry["interval"][0] = max(0.0, entry["interval"][0])
    rng = np.random.default_rng(seed)
    n = min(len(generated), len(floor))
    subsets = [floor[rng.permutation(len(floor))[:n]] for _ in range(FLOOR_SAMPLES if n else 0)]
    scores = [statistic(subset.mean(axis=0), target) for subset in subsets]
    scores = [
        score for score in scores if np.isfinite(score)
    ]  # a small subset can miss all of `test`
    return entry | {"floor": float(np.mean(scores)) if scores else None, "floor_n": n}


def ks(generated: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Kolmogorov–Smirnov statistic of two distributions over ordered values.

    Args:
        generated: (..., k) frequencies.
        test: (k,) frequencies.
    """
    return np.abs(np.cumsum(generated, axis=-1) - np.cumsum(test)).max(axis=-1)


def chi2(generated: np.ndarray, test: np.ndarray) -> np.ndarray:
    """χ² of frequencies, Σ (g − t)² / t over the categories present in the test set; NaN if g has none of them.

    Args:
        generated: (..., k) frequencies; renormalised once the absent categories are dropped.
        test: (k,) frequencies.
    """
    present = test > 0
    g, t = generated[..., present], test[present]
    with np.errstate(invalid="ignore"):
        g = g / g.sum(axis=-1, keepdims=True)
    return ((g - t) ** 2 / t).sum(axis=-1)
