"""All metrics, in the order of Table 1."""

from wyk.metrics import distributions, sun
from wyk.metrics.distributions import Metric

METRICS = (
    Metric("formal_validity", "Formal validity, % of structures", "↑", True),
    Metric("uniqueness", "Uniqueness, % of valid", "↑", True),
    Metric("novelty", "Novelty, % of unique", "↑", True, needs=("novel",)),
    *distributions.METRICS,
    *sun.METRICS,
)
