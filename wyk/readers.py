"""Any file of crystals, read one crystal at a time.

Everything here may come from strangers: what one row holds can spoil that row only, never the rest of a file,
and nothing that is read is executed, imported or used as the name of a file.
"""

import contextlib
import csv
import gzip
import os
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

LARGEST = 16 * 2**20  # bytes of one crystal's text; real ones stay below 1 MB, zip bombs do not
FORMATS = {"cif": "cif", "structure": "json"}  # column → format of its text
EXTRA_COLUMNS = {  # column → name under which it is carried through, and its kind
    "spacegroup.number": ("spacegroup.number", np.int64),
    "e_above_hull": ("e_above_hull", float),
    "energy_above_hull": ("e_above_hull", float),  # MPTS-52
}

csv.field_size_limit(4 * LARGEST)  # up to here a field spoils its row, beyond it the file


@dataclass(frozen=True)
class Record:
    """One crystal as text.

    Attributes:
        where: for messages, such as `file.csv: row 212 (mp-1234)`; rows count from 1 below the header.
        material_id: the row's own, or its row number, or the name of its file.
        text: a CIF, or pymatgen's JSON of a Structure.
        format: "cif" or "json".
        extras: `spacegroup.number` and `e_above_hull` (eV/atom) where the source has them.
    """

    where: str
    material_id: str
    text: str
    format: str
    extras: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Rejected:
    """One crystal that cannot be used, and why."""

    where: str
    material_id: str
    reason: str


def file_records(path: str | Path, label: str | None = None) -> Iterator[Record | Rejected]:
    """The crystals in a .cif, a folder or zip of them, a CSV or CSV.gz, or a Parquet of crystals, in order.

    A CSV or Parquet needs a column `cif`, or `structure` with pymatgen's JSON; it may have `material_id` and
    those of `EXTRA_COLUMNS`. Nothing is held in memory but the crystal at hand.

    Args:
        label: what messages call the file; its name unless given.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file as a whole is empty, damaged, of an unknown kind or lacks the column.
    """
    path = Path(path)
    readers = {".cif": _cif_file, ".zip": _zip, ".parquet": _parquet, ".csv": _csv, ".csv.gz": _csv}
    suffix = ".csv.gz" if path.name.lower().endswith(".csv.gz") else path.suffix.lower()
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or folder")
    if path.is_dir():
        reader = _folder
    elif suffix not in readers:
        raise ValueError(f"{path}: neither a folder nor {', '.join(readers)}")
    elif path.stat().st_size == 0:
        raise ValueError(f"{path} is empty")
    else:
        reader = readers[suffix]
    found = False
    for item in reader(path, label or path.name):
        found = True
        yield item
    if not found:
        raise ValueError(f"{path} holds no crystals")


def _cif_file(path: Path, label: str) -> Iterator[Record | Rejected]:
    with path.open("rb") as file:
        yield _cif_record(label, path.stem, file.read(LARGEST + 1))


def _cif_record(where: str, material_id: str, content: bytes) -> Record | Rejected:
    if len(content) > LARGEST:
        return Rejected(where, material_id, f"more than {LARGEST >> 20} MB of text")
    return Record(where, material_id, content.decode("utf-8-sig", errors="replace"), "cif")


def _folder(path: Path, label: str) -> Iterator[Record | Rejected]:
    for file in sorted(p for p in path.rglob("*") if p.suffix.lower() == ".cif" and p.is_file()):
        name = os.fsencode(file.relative_to(path).as_posix()).decode("utf-8", "backslashreplace")
        where, material_id = f"{label}/{name}", name.removesuffix(file.suffix)
        try:
            with file.open("rb") as opened:
                yield _cif_record(where, material_id, opened.read(LARGEST + 1))
        except OSError as error:
            yield Rejected(where, material_id, f"cannot be read: {error.strerror}")


def _zip(path: Path, label: str) -> Iterator[Record | Rejected]:
    try:
        archive = zipfile.ZipFile(path)
    except Exception as error:  # of several kinds, where its list of members is damaged
        raise ValueError(f"{path} is not a zip, or only a part of one: {error}") from error
    with archive:
        for row, member in enumerate((m for m in archive.infolist() if not m.is_dir()), start=1):
            name = PurePosixPath(member.filename)
            where = f"{label}: row {row} ({name})"
            material_id = name.as_posix().removesuffix(name.suffix)
            if name.suffix.lower() != ".cif":
                yield Rejected(where, material_id, "not a .cif")
                continue
            try:
                with archive.open(member) as opened:
                    content = opened.read(LARGEST + 1)
            except Exception as error:  # each kind of compression raises its own
                yield Rejected(where, material_id, f"cannot be unpacked: {error}")
            else:
                yield _cif_record(where, material_id, content)


def _csv(path: Path, label: str) -> Iterator[Record | Rejected]:
    with path.open("rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    opener = gzip.open if zipped else open
    number = 0
    try:
        with opener(path, "rt", encoding="utf-8-sig", errors="replace", newline="") as file:
            # never a line of any length: the rest of one is another row
            rows = csv.reader(iter(lambda: file.readline(LARGEST), ""))
            header = next(rows, [])
            column = _text_column(path, header)
            for number, row in enumerate(filter(None, rows), start=1):
                if len(row) == len(header):
                    values = dict(zip(header, row, strict=True))
                    yield _row(f"{label}: row {number}", number, column, values)
                else:
                    reason = f"{len(row)} fields for {len(header)} columns; a quote left open?"
                    yield Rejected(f"{label}: row {number}", str(number), reason)
    except (OSError, EOFError, zlib.error, csv.Error) as error:
        raise ValueError(f"{path} is damaged or cut off after row {number}: {error}") from error


def _parquet(path: Path, label: str) -> Iterator[Record | Rejected]:
    try:
        with pq.ParquetFile(path) as file:
            header = file.schema_arrow.names
            column = _text_column(path, header)
            wanted = {column, "material_id", "reason", *EXTRA_COLUMNS} & set(header)
            batches = file.iter_batches(batch_size=64, columns=sorted(wanted))
            rows = (values for batch in batches for values in batch.to_pylist())
            for number, values in enumerate(rows, start=1):
                yield _row(f"{label}: row {number}", number, column, values)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path} is not a Parquet file, or only a part of one: {error}") from error


def holds_crystals(path: str | Path) -> bool:
    """Whether a Parquet has a column of crystals; what is no Parquet counts as if, and fails when read."""
    try:
        return not FORMATS.keys().isdisjoint(pq.read_schema(path).names)
    except (pa.ArrowException, OSError):
        return True


def _text_column(path: Path, header: list[str]) -> str:
    for column in FORMATS:
        if column in header:
            return column
    names = ", ".join(header)[:200] or "none"
    raise ValueError(
        f"{path} has no column `cif` or `structure` with crystals; its columns: {names}"
    )


def _row(where: str, number: int, column: str, values: dict) -> Record | Rejected:
    material_id = " ".join(str(values.get("material_id") or "").split())
    where += f" ({material_id})" if material_id else ""
    material_id = material_id or str(number)
    text = values[column]
    if not text:  # a row of our own crystals says why it has none
        reason = values.get("reason") or f"nothing in column `{column}`"
        return Rejected(where, material_id, str(reason))
    if not isinstance(text, str) or len(text) > LARGEST:
        return Rejected(where, material_id, f"no text of at most {LARGEST >> 20} MB in `{column}`")
    extras = {}
    for name, (target, kind) in EXTRA_COLUMNS.items():
        # absent, empty, not a number, or infinite
        with contextlib.suppress(KeyError, TypeError, ValueError, OverflowError):
            extras[target] = kind(float(values[name]))
    return Record(where, material_id, text, FORMATS[column], extras)
