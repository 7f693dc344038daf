"""What figures show of data and results, as counts and means.

Rows of third-party data, and what follows them row by row, stay where they are (`push: false` in dvc.yaml). These
tables stand in git, so that every figure can be drawn without the data.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from wyk.baselines import BASELINES
from wyk.common import rate
from wyk.crystals import WyckoffRepresentation, from_table, parameter_counts, read_representations
from wyk.likelihood import divergence
from wyk.metrics import TEST
from wyk.plumbing import paths
from wyk.studies import matching
from wyk.studies.recovery import found, tiers

SPLITS = ("train", "val", "test")
PROPERTIES = {  # distributions that Table 1 compares (paper, Figures 5, 6, 8 and 9)
    "elements": lambda crystal: len(set(crystal.elements)),
    "sites": lambda crystal: len(crystal.letters),
    "dof": lambda crystal: crystal.degrees_of_freedom,
}


def write(experiment: str, seed: int = 0) -> Path:
    """Writes the tables of an experiment to `figures/<experiment>/<name>.csv`.

    Args:
        experiment: whose `represent`, `sample`, `baselines`, `wycryst`, `likelihood`, `recovery` and `match` have
            run.
        seed: of bootstrap.

    Returns:
        The folder.

    Raises:
        FileNotFoundError: for a stage that has not run.
    """
    real = {name: _read(experiment, f"represent/{name}.parquet") for name in SPLITS}
    everything = [crystal for split in real.values() for crystal in split]
    sets = {
        TEST: real["test"],
        "own samples": _read(experiment, "sample/samples.parquet"),
        **{b.label: _read(experiment, b.samples) for b in BASELINES.values() if b.samples},
    }
    likelihoods = divergence.load(paths.run(experiment, "likelihood"))
    recovered = pd.read_parquet(paths.run(experiment, "recovery") / "crystals.parquet")
    drawn = pd.read_parquet(paths.run(experiment, "match") / "starts.parquet")
    tables = {
        "parameters": parameters(everything),
        "space_groups": counts("space_group", [crystal.space_group for crystal in everything]),
        "variants": counts("variants", [len(crystal.variants()) for crystal in everything]),
        "properties": properties(sets),
        "likelihoods": divergence.histogram(likelihoods),
        "permutation_kl": divergence.by_sites(likelihoods[divergence.OWN], seed),
        "recovery": recovery(recovered),
        "starts": matching.summary(drawn),
    }
    folder = paths.figures(experiment)
    for name, table in tables.items():
        with paths.writing(folder / f"{name}.csv") as temporary:
            table.to_csv(temporary, index=False)
    return folder


def _read(experiment: str, path: str) -> list[WyckoffRepresentation]:
    return from_table(read_representations(paths.run(experiment, path)))


def counts(column: str, values: Sequence[int]) -> pd.DataFrame:
    """How many crystals have each value: a column of that name, rising, and `crystals`."""
    found, number = np.unique(values, return_counts=True)
    return pd.DataFrame({column: found, "crystals": number})


def parameters(representations: Sequence[WyckoffRepresentation]) -> pd.DataFrame:
    """How many crystals need so many parameters: `description` (of `parameter_counts`), `parameters`, `crystals`."""
    table = parameter_counts(representations)
    parts = [counts("parameters", table[name]).assign(description=name) for name in table]
    return pd.concat(parts, ignore_index=True)[["description", "parameters", "crystals"]]


def properties(sets: dict[str, Sequence[WyckoffRepresentation]]) -> pd.DataFrame:
    """Distributions of PROPERTIES.

    Args:
        sets: name → crystals; one of them named TEST for `plots.properties`.

    Returns:
        Columns `quantity` (of PROPERTIES), `set`, `value`, `crystals`, and `share` of the set.
    """
    parts = []
    for quantity, count in PROPERTIES.items():
        for name, crystals in sets.items():
            table = counts("value", [count(crystal) for crystal in crystals])
            share = table["crystals"] / len(crystals)
            parts.append(table.assign(quantity=quantity, set=name, share=share))
    return pd.concat(parts, ignore_index=True)[["quantity", "set", "value", "crystals", "share"]]


def recovery(table: pd.DataFrame) -> pd.DataFrame:
    """Share of real crystals that so many draws find, for all of them and by their free numbers.

    Args:
        table: of `recovery.recover`.

    Returns:
        Columns `free_numbers` ("all", "1 to 3", …), `draws`, `found` (share), `low` and `high` (95% interval), `n`,
        and `calls`, the mean number of force calls of a draw.
    """
    hits = found(table)
    rows = []
    for label, chosen in tiers(table["free_numbers"]).items():
        n = int(chosen.sum())
        calls = table.loc[chosen, "calls"].explode().astype(float).mean()
        for k in range(hits.shape[1] if n else 0):
            share = rate(hits[chosen, k])
            rows.append((label, k + 1, share.value, *share.interval, n, calls))
    columns = ["free_numbers", "draws", "found", "low", "high", "n", "calls"]
    return pd.DataFrame(rows, columns=columns)
