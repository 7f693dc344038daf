"""Crystals under conditions beside free samples that happen to fulfil them: what a condition costs in stability."""

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from wyk import sampling, stability, structures
from wyk.common import Estimate
from wyk.crystals import write_representations
from wyk.files import datasets
from wyk.metrics import evaluation
from wyk.model import checkpoint
from wyk.plumbing import params, paths

ASKED, FILTERED = "asked for", "filtered"
ENTRIES = (
    "stable",
    "sun",
    "sun_plausible",
    "ssun_plausible",
    "hull_coverage",
)  # of block `relaxed`
MOST_FREE = 2_000_000  # free samples looked through


def run(experiment: str, jobs: int = 1) -> pd.DataFrame:
    """Samples, relaxes and judges crystals under each condition of an experiment, and as many filtered free ones.

    The crystals go to `runs/<experiment>/conditional`, as `structures.build` writes them, the table to
    `figures/<experiment>/conditional.csv`. A killed run goes on where it stopped.

    Args:
        experiment: of params.yaml, with a trained model.
        jobs: processes.

    Returns:
        One row for each condition, kind of samples and quantity: `condition`, `samples`, `quantity` (ENTRIES,
        mean `sites`, median `e_above_hull` in eV/atom), `value`, `low`, `high` (95% interval, missing for mean and
        median) and `n`.

    Raises:
        ValueError, OSError: if there is no such experiment, model or data.
    """
    settings, seed = params.experiment(experiment), params.load().seed
    model = checkpoint.load(paths.run(experiment, "train"))
    sets = {}
    for condition in settings.conditional.conditions:
        n, asked = settings.conditional.n, condition.asked()
        sets[condition.name, ASKED] = sampling.sample(model, n, seed=seed, **asked)
        sets[condition.name, FILTERED], _ = sampling.free_that_fulfil(
            model, n, seed, MOST_FREE, **asked
        )
    for (name, kind), table in sets.items():
        table["material_id"] = [f"{name}, {kind}, {i}" for i in range(len(table))]
    folder = paths.run(experiment, "conditional")
    write_representations(folder / "representations.parquet", pd.concat(sets.values()))
    crystals = structures.build(
        folder / "representations.parquet",
        folder,
        draws=settings.structures.numbers(),
        time_limit=settings.structures.time_limit,
        seed=seed,
        jobs=jobs,
        judge=partial(stability.judged, hull=stability.Hull.load()),
    )
    read, rows = cache(datasets.read), []
    for (name, kind), table in sets.items():
        part = crystals[crystals["material_id"].isin(table["material_id"])]
        for quantity, entry in _judged(settings.data, table, part, read, seed, jobs).items():
            low, high = entry.interval or (None, None)
            row = {"condition": name, "samples": kind, "quantity": quantity}
            rows.append(row | {"value": entry.value, "low": low, "high": high, "n": entry.n})
    result = pd.DataFrame(rows)
    with paths.writing(paths.figures(experiment) / "conditional.csv") as temporary:
        result.to_csv(temporary, index=False)
    return result


def _judged(
    data: params.Data,
    samples: pd.DataFrame,
    crystals: pd.DataFrame,
    read: Callable,
    seed: int,
    jobs: int,
) -> dict[str, Estimate]:
    """What is measured of one set of samples and the crystals made of them."""
    with TemporaryDirectory() as folder:
        source = Path(folder) / "samples.parquet"
        write_representations(source, samples)
        write_representations(Path(folder) / "crystals.parquet", crystals)
        known = [data.train, data.val]
        out = Path(folder) / "metrics.json"
        block = evaluation.evaluate(
            str(source), data.test, out, known, folder, seed=seed, jobs=jobs, read=read
        )["relaxed"]
    above = crystals["e_above_hull"]
    return {
        "sites": Estimate(samples["elements"].map(len).mean(), len(samples)),
        "e_above_hull": Estimate(above.median(), int(above.notna().sum())),
    } | {name: Estimate.of(block[name]) for name in ENTRIES}
