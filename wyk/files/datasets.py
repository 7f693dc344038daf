"""From any source to Wyckoff representations, or to crystals."""

import contextlib
import logging
import sys
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from math import gcd
from pathlib import Path

import pandas as pd
from pymatgen.core import Composition, Structure
from tqdm import tqdm

from wyk.crystals import (
    COLUMNS,
    WyckoffRepresentation,
    from_table,
    read_rows,
    row_fault,
    to_table,
    write_representations,
)
from wyk.files.cells import read_cell, represent_record, to_structure
from wyk.files.crystal_sets import TIME_LIMIT, kept
from wyk.files.readers import LeftOut, Record, Rejected, holds_crystals
from wyk.files.sources import count, records
from wyk.plumbing import Failed, in_order, writing


@dataclass(frozen=True)
class Summary:
    """How many crystals were represented, how many rejected, and how many files were no crystals."""

    n: int
    rejected: int
    left_out: int = 0


def represent(source: str | Path, out: str | Path, jobs: int = 1) -> Summary:
    """Write the Wyckoff representations of a data set or file as Parquet, in its order.

    What cannot be represented goes to `OUT.rejected.csv` (where, material_id, reason); without such rows there
    is no such file. The result does not depend on `jobs`.

    Args:
        source: see `records`; or a Parquet of representations, which is copied.
        out: path of the Parquet file.
        jobs: processes.

    Raises:
        ValueError: if the source cannot be read, or not one of its crystals can be represented.
        OSError: if `out` cannot be written; this is found before the work begins.
    """
    out = Path(out)
    sidecar = out.with_suffix(".rejected.csv")
    with writing(out) as temporary:
        temporary.touch()
        left_out: list[LeftOut] = []
        frame, rejected = read(source, jobs, left_out)
        write_rejected(sidecar, rejected)
        if rejected and frame.empty:
            raise ValueError(f"{rejected[0].where}: {rejected[0].reason}; see {sidecar}")
        write_representations(temporary, frame)
    return Summary(len(frame), len(rejected), len(left_out))


def write_rejected(path: Path, rows: Sequence[Rejected] | pd.DataFrame) -> None:
    """Write the list of what was rejected; if nothing was, that of an earlier run is removed."""
    if not len(rows):
        path.unlink(missing_ok=True)
        return
    with writing(path) as temporary:
        # pandas does not quote a carriage return, but reads it as the end of a row
        pd.DataFrame(rows).replace("\r", " ", regex=True).to_csv(temporary, index=False)


def load(source: str | Path, jobs: int = 1) -> pd.DataFrame:
    """The representations of a data set or file, or those in a Parquet of ours; rejected rows are logged.

    Raises:
        ValueError, OSError: if the source cannot be read.
    """
    frame, rejected = read(source, jobs)
    _log(rejected)
    return frame


def known(source: str | Path, jobs: int = 1, read_by: Callable | None = None) -> pd.DataFrame:
    """As `load`, of a set that others are compared with: formally invalid rows are left out, too.

    Args:
        source, jobs: as in `load`.
        read_by: `read`, or one that remembers what it has read.

    Raises:
        ValueError, OSError: if the source cannot be read, or nothing is left of it.
    """
    frame, rejected = (read_by or read)(source, jobs)
    _log(rejected)
    invalid = [r.invalidity() for r in from_table(frame)]
    label = Path(source).name
    rows = zip(frame["material_id"], invalid, strict=True)
    _log([Rejected(f"{label} ({name})", name, reason) for name, reason in rows if reason])
    if all(invalid):
        raise ValueError(f"{source}: no formally valid representation")
    return frame[[reason is None for reason in invalid]].reset_index(drop=True)


def structures(
    source: str | Path, formulas: Collection[str] | None = None
) -> tuple[list[tuple[str, Structure]], list[Rejected]]:
    """The crystals of a data set or file as (material_id, Structure), and those that cannot be read.

    Args:
        source: see `records`.
        formulas: only crystals of these reduced formulas, as pymatgen writes them; all if None.

    Raises:
        ValueError, OSError: if the source cannot be read.
    """
    wanted = None if formulas is None else set(map(_proportions, map(Composition, formulas)))
    crystals, rejected = [], []
    for item in records(source):
        try:
            if isinstance(item, Rejected):
                rejected.append(item)
                continue
            cell = read_cell(item)  # a tenth of the time that a Structure takes
            if wanted is None or _proportions(Counter(cell.numbers.tolist())) in wanted:
                crystals.append((item.material_id, to_structure(cell)))
        except ValueError as error:
            rejected.append(Rejected(item.where, item.material_id, str(error)))
    return crystals, rejected


def _proportions(counts: Mapping) -> frozenset[tuple[int, int]]:
    """Atomic number and share, in smallest whole numbers, of each element of a composition."""
    whole = {getattr(element, "Z", element): round(n) for element, n in counts.items()}
    divisor = gcd(*whole.values())
    return frozenset((z, n // divisor) for z, n in whole.items())


def read(
    source: str | Path, jobs: int = 1, left_out: list[LeftOut] | None = None
) -> tuple[pd.DataFrame, list[Rejected]]:
    """As `load`, and the rejected rows. Files that are no crystals are named in a sentence on stderr.

    Args:
        source, jobs: as in `load`.
        left_out: to which those files are added.

    Raises:
        ValueError, OSError: if the source cannot be read.
    """
    if Path(source).suffix == ".parquet" and not holds_crystals(source):
        return _read_bare(source)
    if jobs < 1:
        raise ValueError(f"{jobs} jobs: at least 1 is needed")
    left_out = [] if left_out is None else left_out
    total = count(source, left_out)
    done, rejected = [], []
    results = in_order(_represent, records(source), jobs, TIME_LIMIT)
    with contextlib.closing(results):  # on Ctrl-C the pool stops at once
        for item, result in tqdm(
            results, f"represent {source}", total, unit="row", disable=None, file=sys.stderr
        ):
            if isinstance(result, Failed):
                rejected.append(Rejected(item.where, item.material_id, result.reason))
            else:  # without its text, so that memory does not grow with it
                done.append((item.material_id, item.extras, result))
    columns = kept([extras for _, extras, _ in done])
    ids = [name for name, _, _ in done]
    return to_table([representation for _, _, representation in done], ids, **columns), rejected


def _read_bare(source: str | Path) -> tuple[pd.DataFrame, list[Rejected]]:
    frame = read_rows(source)
    faults = list(map(row_fault, *(frame[column] for column in COLUMNS[:4])))
    rejected = [
        Rejected(f"{Path(source).name}: row {row}", str(name), fault)
        for row, (name, fault) in enumerate(zip(frame["material_id"], faults, strict=True), start=1)
        if fault
    ]
    if not rejected:
        return frame, []
    usable = frame[[fault is None for fault in faults]].reset_index(drop=True)
    return usable.astype({"space_group": int}), rejected


def _represent(item: Record | Rejected) -> WyckoffRepresentation:
    if isinstance(item, Rejected):
        raise ValueError(item.reason)
    return represent_record(item)


def _log(rejected: list[Rejected]) -> None:
    for row in rejected[:5]:
        logging.getLogger(__name__).warning("%s: %s. Skipped.", row.where, row.reason)
    if len(rejected) > 5:
        logging.getLogger(__name__).warning("… and %d more rows.", len(rejected) - 5)
