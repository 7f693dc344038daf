"""The named data sets, and the way from any of them, or from any file, to Wyckoff representations.

A third-party file is compared with its git blob id whenever it is read; `wyk.files.downloads` brings it.
"""

import contextlib
import functools
import gzip
import hashlib
import json
import logging
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from math import gcd
from pathlib import Path

import pandas as pd
from pymatgen.core import Composition, Structure
from tqdm import tqdm

from wyk.crystals import (
    COLUMNS,
    WyckoffRepresentation,
    from_cell,
    from_table,
    read_rows,
    row_fault,
    to_table,
    write_representations,
)
from wyk.files.cells import read_cell, represent_record, to_structure
from wyk.files.origins import FILES, SPLITS, check
from wyk.files.readers import LeftOut, Record, Rejected, file_records, holds_crystals, listed
from wyk.plumbing import DATA, Failed, in_order, writing

TIME_LIMIT = 60  # s a row may take
NAMES = ("aflow", "biternary_7k", *dict.fromkeys(name.split("/")[0] for name in FILES))


@dataclass(frozen=True)
class Summary:
    """How many crystals were represented, how many rejected, and how many files were no crystals."""

    n: int
    rejected: int
    left_out: int = 0


# --- from a name or a file to records


def records(
    source: str | Path, left_out: list[LeftOut] | None = None
) -> Iterator[Record | Rejected]:
    """The crystals of a data set or a file, in order.

    Args:
        source: a data set, such as `mp_20_biternary` or `aflow:train`, or a path: see `file_records`.
        left_out: files in a folder or archive that are no crystals are added to it.

    Raises:
        FileNotFoundError: no such file; or a data set that was not downloaded yet.
        ValueError: no such split; a file that is damaged, or not the one it should be.
    """
    name, colon, split = str(source).partition(":")
    if name not in NAMES:
        if not Path(source).exists():
            raise FileNotFoundError(
                f"{source}: no such file or folder, nor a data set ({', '.join(NAMES)})"
            )
        yield from file_records(source, left_out=left_out)
    elif colon and split not in SPLITS:
        raise ValueError(f"{name} has no split {split!r}; its splits are {', '.join(SPLITS)}")
    elif not colon:
        for each in SPLITS:
            yield from records(f"{name}:{each}")
    elif name == "aflow":
        yield from _aflow(split)
    elif name == "biternary_7k":
        yield from _biternary_7k(split)
    else:
        file = next(file for file in FILES if file.startswith(f"{name}/{split}."))
        check(DATA / file, file)
        yield from file_records(DATA / file, label=file)


def _aflow(split: str) -> Iterator[Record]:
    """The AFLOW prototypes inside pymatgen, 60/20/20, in an order fixed by hashing their numbers."""
    prototypes = _prototypes()
    n = len(prototypes)
    order = sorted(range(n), key=lambda i: hashlib.sha256(str(i).encode()).digest())
    start, end = {"train": (0, 0.6), "val": (0.6, 0.8), "test": (0.8, 1)}[split]
    for i in order[round(start * n) : round(end * n)]:
        label, text = prototypes[i]
        material_id = f"aflow-{i + 1:03d}-{label}"
        yield Record(f"aflow: row {i + 1} ({material_id})", material_id, text, "json")


@functools.cache
def _prototypes() -> list[tuple[str, str]]:
    # found through the outer package: importing the inner one takes seconds
    folder = resources.files("pymatgen") / "analysis" / "prototypes"
    rows = json.loads(gzip.decompress((folder / "aflow_prototypes.json.gz").read_bytes()))
    return [(row["tags"]["aflow"], json.dumps(row["snl"])) for row in rows]


def _biternary_7k(split: str) -> Iterator[Record | Rejected]:
    """What can be had of MP-20 binary & ternary here: nine tenths of its val split to train on."""
    if split == "test":
        yield from records("mp_20_biternary:test")
        return
    for i, record in enumerate(records("mp_20_biternary:val")):
        if (i % 10 == 0) == (split == "val"):
            yield record


# --- from records to representations and structures


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


@dataclass(frozen=True)
class CrystalSet:
    """Crystals, each read once: with coordinates, and as a representation.

    Attributes:
        names: material_id of each, (n,).
        structures: None for one that cannot be read.
        representations: None for one that cannot be represented.
        rejected: those without a representation, and why.
        extras: `Record.extras` of each.
    """

    names: list[str]
    structures: list[Structure | None]
    representations: list[WyckoffRepresentation | None]
    rejected: list[Rejected]
    extras: list[dict]

    @classmethod
    def of(
        cls,
        items: Iterable[Record | Rejected],
        jobs: int = 1,
        total: int | None = None,
        what: str = "",
    ) -> "CrystalSet":
        """The crystals of records.

        Args:
            items: as `records` gives them.
            jobs: processes.
            total, what: how many there are and what they are called, for the bar.
        """
        found = cls([], [], [], [], [])
        results = in_order(_crystal, items, jobs, TIME_LIMIT)
        with contextlib.closing(results):  # on Ctrl-C the pool stops at once
            bar = tqdm(results, f"read {what}", total, unit="row", disable=None, file=sys.stderr)
            for item, result in bar:
                failed = isinstance(result, Failed)
                structure, represented = (None, result.reason) if failed else result
                if isinstance(represented, str):
                    found.rejected.append(Rejected(item.where, item.material_id, represented))
                    represented = None
                found.names.append(item.material_id)
                found.structures.append(structure)
                found.representations.append(represented)
                found.extras.append({} if isinstance(item, Rejected) else item.extras)
        return found

    @classmethod
    def read(cls, source: str | Path, jobs: int = 1) -> "CrystalSet":
        """The crystals of a data set or file; files that are no crystals are named in a sentence on stderr.

        Raises:
            ValueError, OSError: if the source cannot be read.
        """
        return cls.of(records(source), jobs, _count(source, []), str(source))

    def table(self) -> pd.DataFrame:
        """The representations as a table, as `read` gives it."""
        there = [i for i, each in enumerate(self.representations) if each is not None]
        columns = {
            name: [self.extras[i].get(name) for i in there]
            for name in ("spacegroup.number", "e_above_hull")
            if any(name in self.extras[i] for i in there)
        }
        names = [self.names[i] for i in there]
        return to_table([self.representations[i] for i in there], names, **columns)


def _crystal(item: Record | Rejected) -> tuple[Structure | None, WyckoffRepresentation | str]:
    """A crystal and its representation, or the reason why there is none."""
    if isinstance(item, Rejected):
        raise ValueError(item.reason)
    cell = read_cell(item)
    structure = to_structure(cell)
    try:
        return structure, from_cell(cell.lattice, cell.fractional, cell.numbers)
    except ValueError as error:
        return structure, str(error)


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
    total = _count(source, left_out)
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
    columns = {
        name: [extras.get(name) for _, extras, _ in done]
        for name in ("spacegroup.number", "e_above_hull")
        if any(name in extras for _, extras, _ in done)
    }
    ids = [name for name, _, _ in done]
    return to_table([representation for _, _, representation in done], ids, **columns), rejected


def _count(source: str | Path, left_out: list[LeftOut]) -> int:
    """Crystals in a source: reading alone takes a fiftieth of the time, and finds a damaged file before the work."""
    total = sum(1 for _ in records(source, left_out))
    if left_out:
        logging.getLogger(__name__).warning("%s: %s.", source, listed(left_out))
    return total


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
