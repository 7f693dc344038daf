"""What ``wyk evaluate`` does: reads the files, has the metrics computed, writes them down."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from pymatgen.core import Structure

from wyk import datasets, divergence, metrics
from wyk.paths import writing
from wyk.readers import holds_crystals
from wyk.representation import COLUMNS, from_table, read_representations
from wyk.stability import REFERENCE, Hull

NEEDS_TRAINING = ("novelty", "sun", "ssun")


def evaluate(
    samples: str,
    reference: str,
    out: str | Path,
    training: Sequence[str] = (),
    crystals: str | Path | None = None,
    hull: str | Path | None = None,
    likelihoods: str | Path | None = None,
    seed: int = 0,
    jobs: int = 1,
) -> dict:
    """Writes the metrics of a set of structures as JSON.

    Args:
        samples, reference: what is judged, and the test set that distances are measured to; each
            anything `datasets.load` takes.
        out: path of the JSON file.
        training: training and validation sets. What is in them is not novel, and they are the real
            crystals whose distance to `reference` is the floor. Without them there is neither.
        crystals: folder of `structures.build`, made of the first samples.
        hull: table of `stability.reference` to judge those crystals by; the shipped one if None.
        likelihoods: folder of tables of `likelihood.likelihood`, one Parquet per set, named by it.
        seed: of bootstrap and floors.
        jobs: processes.

    Raises:
        ValueError, OSError: naming the file that cannot be read or written.
    """
    with writing(out) as temporary:
        temporary.touch()  # a place that cannot be written is found before the work
        generated = datasets.load(samples, jobs)
        test = datasets.load(reference, jobs)
        known = [datasets.load(source, jobs)[list(COLUMNS)] for source in training]
        known = pd.concat(known, ignore_index=True) if known else test[list(COLUMNS)].head(0)
        relaxed = None if crystals is None else _relaxed(Path(crystals) / "crystals.parquet", hull)
        result = metrics.evaluate(
            generated,
            test,
            known,
            known,
            crystals=relaxed,
            reference_structures=None if crystals is None else _structures(training),
            likelihoods=likelihoods and divergence.load(likelihoods),
            seed=seed,
            provenance={
                "source": samples,
                "test_source": reference,
                "training_source": list(training),
                "hull": None if crystals is None else Path(hull or REFERENCE).name,
            },
        )
        if not training:
            for block in ("raw", "relaxed"):
                for name in NEEDS_TRAINING:
                    result.get(block, {}).pop(name, None)
        text = json.dumps(result, indent=2, ensure_ascii=False, allow_nan=False)
        temporary.write_text(text + "\n", encoding="utf-8")
    return result


def _relaxed(path: Path, hull: str | Path | None) -> pd.DataFrame:
    """The crystals table, its energies above the hull computed again if another hull is asked for."""
    table = read_representations(path)
    if missing := {"cif", "energy_per_atom", "e_above_hull", "hull_covered"} - set(table):
        raise ValueError(
            f"{path} has no column {', '.join(sorted(missing))}: not made by `wyk structures`"
        )
    if hull is None:
        return table
    judge = Hull.load(hull)
    for row, crystal in zip(table.index, from_table(table), strict=True):
        energy = table.at[row, "energy_per_atom"]
        table.at[row, "hull_covered"] = judge.covers(crystal.composition)
        if np.isfinite(energy):
            table.at[row, "e_above_hull"] = judge.e_above_hull(crystal.composition, energy)
    return table


def _structures(sources: Sequence[str]) -> list[Structure] | None:
    """The crystals of the training sets; None if one of them holds representations alone."""
    if any(Path(source).suffix == ".parquet" and not holds_crystals(source) for source in sources):
        return None
    return [structure for source in sources for _, structure in datasets.structures(source)[0]]
