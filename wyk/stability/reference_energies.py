"""Tables of reference energies for the hull: of crystals, of other tables, of the Materials Project."""

import csv
import gzip
import logging
import math
import sys
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from pymatgen.core import Structure
from tqdm import tqdm

from wyk import relaxation
from wyk.files import datasets
from wyk.plumbing import workers, writing
from wyk.stability import materials_project
from wyk.stability.hull import COLUMNS, REFERENCE, TABLE, Hull, read_table

SHIPPED = "shipped"  # names the table that comes with wyk
TIME_LIMIT = 300.0  # seconds for one crystal


@dataclass(frozen=True)
class Summary:
    """How many energies were written, and how many crystals have none (their reasons are in the sidecar)."""

    n: int
    rejected: int


@dataclass(frozen=True)
class Energy:
    """CHGNet's energy of a crystal, eV/atom, NaN if there is none; then `reason` says why."""

    energy_per_atom: float
    reason: str | None


def single_points(crystals: Sequence[Structure], jobs: int = 1) -> list[Energy]:
    """CHGNet energies of crystals as they stand."""
    results = _each(relaxation.energy_per_atom, crystals, jobs)
    return [Energy(math.nan if reason else energy, reason) for energy, reason in results]


def relaxed(crystals: Sequence[Structure], jobs: int = 1) -> list[relaxation.Relaxed]:
    """Crystals relaxed with CHGNet, from where they stand."""
    results = _each(relaxation.relax, crystals, jobs)
    return [result or relaxation.Relaxed(None, math.nan, 0, False, why) for result, why in results]


def _each(function: Callable, crystals: Sequence[Structure], jobs: int) -> list[tuple]:
    """Result and None, or None and a reason, of each crystal."""
    tasks = {i: (structure,) for i, structure in enumerate(crystals)}
    results = workers.as_done(function, tasks, jobs, TIME_LIMIT, memory=workers.share(jobs))
    bar = tqdm(results, total=len(tasks), unit="crystal", disable=None, file=sys.stderr)
    done = {i: (result, reason) for i, result, reason in bar}
    return [done[i] for i in tasks]


def reference_energies(
    sources: dict[str, Iterable[tuple[str, Structure]]], jobs: int = 1
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """CHGNet single points of crystals as they stand.

    Args:
        sources: name of each source → its crystals, (material_id, structure) each.
        jobs: processes.

    Returns:
        The table a `Hull` takes, and the crystals that have no energy: source, material_id, reason.
    """
    crystals = [(source, *pair) for source, pairs in sources.items() for pair in pairs]
    energies = single_points([structure for _, _, structure in crystals], jobs)
    rows, rejected = [], []
    for (source, material_id, structure), energy in zip(crystals, energies, strict=True):
        if energy.reason:
            rejected.append((source, material_id, energy.reason))
        else:
            formula = structure.composition.reduced_formula
            values = (
                formula,
                len(structure),
                round(energy.energy_per_atom, 6),
                relaxation.POTENTIAL,
            )
            rows.append((source, material_id, *values))
    return (
        pd.DataFrame(rows, columns=[*COLUMNS, "potential"]),
        pd.DataFrame(rejected, columns=["source", "material_id", "reason"]),
    )


def reference(sources: Sequence[str], out: str | Path, jobs: int = 1) -> Summary:
    """Write a table of reference energies; what has no energy goes to `OUT.rejected.csv`.

    Args:
        sources: crystals (anything `sources.records` takes), whose energies are computed; tables that this
            function wrote, or "shipped" for the one that comes with wyk, which are taken over; "mp:Li-Fe-O" for
            the Materials Project's crystals of these elements. Of rows that agree in source and material_id the
            last counts.
        out: path of a CSV or CSV.gz.
        jobs: processes.

    Raises:
        ValueError, OSError: if a source cannot be read, or not one crystal has an energy.
    """
    out = Path(out)
    tables, crystals, unread = [], {}, []
    for source in sources:
        if (table := _table(source)) is not None:
            tables.append(table)
            continue
        system = source.startswith("mp:")
        path = materials_project.download(source.removeprefix("mp:")) if system else source
        name = "Materials Project" if system else source
        read, rejected = datasets.structures(path)
        crystals.setdefault(name, []).extend(read)
        unread += [(name, item.material_id, f"{item.where}: {item.reason}") for item in rejected]
    computed, rejected = reference_energies(crystals, jobs)
    rejected = pd.concat([pd.DataFrame(unread, columns=rejected.columns), rejected])
    sidecar = out.with_name(out.name.removesuffix(".gz").removesuffix(".csv") + ".rejected.csv")
    datasets.write_rejected(sidecar, rejected)
    if len(rejected):
        logging.getLogger(__name__).warning(
            "%d crystals have no energy; see %s", len(rejected), sidecar
        )
    table = pd.concat([*tables, computed]).drop_duplicates(["source", "material_id"], keep="last")
    if table.empty:
        raise ValueError(f"not one crystal of {', '.join(sources)} has an energy; see {sidecar}")
    with writing(out) as temporary:
        table.to_csv(temporary, index=False)
    return Summary(len(table), len(rejected))


def _table(source: str) -> pd.DataFrame | None:
    """A table of energies that can stand in a hull; None if the source is something else."""
    path = REFERENCE / TABLE if source == SHIPPED else Path(source)
    if not set(COLUMNS) <= _header(path):
        return None
    Hull.load(path)  # refuses what no hull can be made of
    return read_table(path).assign(potential=relaxation.POTENTIAL)


def _header(path: Path) -> set[str]:
    """Names of the columns of a CSV or CSV.gz; none if it is neither."""
    if not path.is_file() or not path.name.endswith((".csv", ".csv.gz")):
        return set()
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8", newline="") as file:
            return set(next(csv.reader(file), ()))
    except (OSError, EOFError, ValueError, csv.Error, zlib.error):
        return set()  # whoever reads it next says what is wrong
