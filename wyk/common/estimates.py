"""Numbers with their intervals and floors: rates, and distances between distributions."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import binomtest

RESAMPLES = 1000
FLOOR_SAMPLES = 20


@dataclass(frozen=True)
class Estimate:
    """A number, and how sure it is.

    Attributes:
        value: None where there is nothing to measure.
        n: how many it was measured on.
        interval: of 95%; None without a value.
        numerator, denominator: of a rate.
        floor: of a distance, what as many real crystals score; None if there are none.
        floor_n: of a distance, how many those are.
    """

    value: float | None
    n: int
    interval: tuple[float, float] | None = None
    numerator: int | None = None
    denominator: int | None = None
    floor: float | None = None
    floor_n: int | None = None

    @classmethod
    def of(cls, entry: dict) -> "Estimate":
        """From an entry of metrics.json."""
        interval = entry["interval"] and tuple(entry["interval"])
        return cls(**entry | {"interval": interval})

    @classmethod
    def from_row(cls, row: Mapping, name: str) -> "Estimate":
        """From the columns that `columns` made."""
        return cls(row[name], row["n"], (row[f"{name}_low"], row[f"{name}_high"]))

    def entry(self) -> dict:
        """As in metrics.json: `value`, `n`, `interval`, then what there is of the others."""
        entry = {"value": self.value, "n": self.n, "interval": self.interval}
        if self.denominator is not None:
            entry |= {"numerator": self.numerator, "denominator": self.denominator}
        if self.floor_n is not None:
            entry |= {"floor": self.floor, "floor_n": self.floor_n}
        return entry

    def columns(self, name: str) -> dict:
        """As columns of a table: `name`, `name_low` and `name_high`."""
        low, high = self.interval or (None, None)
        return {name: self.value, f"{name}_low": low, f"{name}_high": high}

    def text(self, form: str) -> str:
        """To be read: the value, and its interval in brackets, each as the format string says."""
        if self.value is None:
            return "–"
        if self.interval is None:
            return format(self.value, form)
        low, high = (format(x, form) for x in self.interval)
        return f"{self.value:{form}} ({low} to {high})"


def wilson(numerator: int, denominator: int) -> tuple[float, float] | None:
    """95% interval of a rate (Wilson, 1927), None without a denominator."""
    if denominator == 0:
        return None
    low, high = binomtest(numerator, denominator).proportion_ci(method="wilson")
    return float(low), float(high)


def rate(hits: Sequence[bool] | np.ndarray, denominator: int | None = None) -> Estimate:
    """A rate.

    Args:
        hits: one bool each.
        denominator: what the hits are counted over, if that is not their number.
    """
    numerator = int(np.sum(hits))
    denominator = len(hits) if denominator is None else denominator
    value = numerator / denominator if denominator else None
    interval = wilson(numerator, denominator)
    return Estimate(value, denominator, interval, numerator, denominator)


def bootstrap(
    features: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray], seed: int
) -> Estimate:
    """A statistic of the mean features of a sample.

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
        return Estimate(None, n)
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(n, np.full(n, 1 / n), size=RESAMPLES) / n  # (resamples, n)
    resampled = statistic(weights @ features)
    low, high = np.nanpercentile(resampled, [2.5, 97.5]) - np.nanmean(resampled) + value
    return Estimate(value, n, (float(low), float(high)))


def mean(values: Sequence[float] | np.ndarray, seed: int) -> Estimate:
    """The mean of n values."""
    return bootstrap(np.asarray(values, float)[:, None], lambda means: means[..., 0], seed)


def distance(
    generated: np.ndarray,
    test: np.ndarray,
    floor: np.ndarray,
    statistic: Callable[[np.ndarray, np.ndarray], np.ndarray],
    seed: int,
) -> Estimate:
    """A distance from generated to test crystals, with its floor.

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
    found = bootstrap(generated, lambda means: statistic(means, target), seed)
    if found.interval:
        low, high = found.interval
        found = replace(found, interval=(max(0.0, low), high))
    rng = np.random.default_rng(seed)
    n = min(len(generated), len(floor))
    subsets = [floor[rng.permutation(len(floor))[:n]] for _ in range(FLOOR_SAMPLES if n else 0)]
    scores = [statistic(subset.mean(axis=0), target) for subset in subsets]
    scores = [
        score for score in scores if np.isfinite(score)
    ]  # a small subset can miss all of `test`
    return replace(found, floor=float(np.mean(scores)) if scores else None, floor_n=n)


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
