"""Any file of crystals, read one crystal at a time.

Everything here may come from strangers: what one row holds can spoil that row only, never the rest of a file,
and nothing that is read is executed, imported or used as the name of a file.
"""

import contextlib
import csv
import gzip
import json
import os
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import gemmi
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pymatgen.core import Structure

from wyk.representation import (
    ELEMENTS,
    MOST_ATOMS,
    WyckoffRepresentation,
    check_cell,
    from_cell,
)

LARGEST = 16 * 2**20  # bytes of one crystal's text; real ones stay below 1 MB, zip bombs do not
MOST_OPERATIONS = 192  # of symmetry, in a conventional cell: those of the groups 225 to 228
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


@dataclass(frozen=True)
class Cell:
    """An ordered crystal: lattice (3, 3) vectors as rows, Å; fractional (n, 3); atomic numbers (n,)."""

    lattice: np.ndarray
    fractional: np.ndarray
    numbers: np.ndarray


def parse(record: Record) -> Structure:
    """The crystal of a record as a pymatgen Structure.

    Raises:
        ValueError: saying why it cannot be used; see `read_cell` and `check_cell`.
    """
    return to_structure(read_cell(record))


def to_structure(cell: Cell) -> Structure:
    """A cell as a pymatgen Structure.

    Raises:
        ValueError: saying why it cannot be used; see `check_cell`.
    """
    check_cell(cell.lattice, cell.fractional, cell.numbers)
    return Structure(cell.lattice, [ELEMENTS[z - 1] for z in cell.numbers], cell.fractional)


def represent_record(record: Record) -> WyckoffRepresentation:
    """The crystal of a record as a Wyckoff representation.

    Raises:
        ValueError: saying why it cannot be used; see `read_cell` and `from_cell`.
    """
    cell = read_cell(record)
    return from_cell(cell.lattice, cell.fractional, cell.numbers)


def read_cell(record: Record) -> Cell:
    """All atoms in the unit cell of a record.

    Raises:
        ValueError: not a CIF or JSON of one crystal; no cell or atoms in it; partial occupancy, deuterium
            or an unknown element; symmetry that cannot be applied.
    """
    if not record.text.strip():
        raise ValueError("empty text")
    return _read_cif(record.text) if record.format == "cif" else _read_json(record.text)


def _read_cif(text: str) -> Cell:
    # gemmi reads a CIF in 0.02 ms where pymatgen's parser needs 2, and finds the same atoms in all the
    # prototypes of pymatgen, also with coordinates rounded to four digits (tests/test_datasets.py).
    try:
        blocks = [b for b in gemmi.cif.read_string(text) if b.find_loop("_atom_site_fract_x")]
        crystals = [gemmi.make_small_structure_from_block(block) for block in blocks]
    except Exception as error:  # of several kinds, raised through C++
        raise ValueError(f"not a CIF: {error}") from error
    if not crystals:
        raise ValueError("no atoms in the CIF")
    if len(crystals) > 1:
        raise ValueError(f"{len(crystals)} crystals in one CIF; one each, please")
    crystal = crystals[0]
    if not crystal.cell.is_crystal():
        raise ValueError("no unit cell in the CIF")
    for site in crystal.sites:
        name = site.element.name
        _check_site(site.label, name if name != "X" else site.type_symbol or site.label, site.occ)
        if not np.isfinite(site.fract.tolist()).all():
            raise ValueError(f"no finite coordinates on site {site.label}")
    _check_symmetry(crystal)
    if len(crystal.sites) > MOST_ATOMS or len(crystal.symops) > MOST_OPERATIONS:
        raise ValueError(
            f"{len(crystal.sites):,} sites and {len(crystal.symops):,} symmetry operations; "
            f"up to {MOST_ATOMS:,} and {MOST_OPERATIONS} can be read"
        )
    sites = crystal.get_all_unit_cell_sites()  # images within 0.4 Å of one another are one atom
    return Cell(
        np.array(crystal.cell.orth.mat.tolist()).T,
        np.array([site.fract.tolist() for site in sites]),
        np.array([site.element.atomic_number for site in sites]),
    )


def _check_symmetry(crystal: gemmi.SmallStructure) -> None:
    """Refuse stated symmetry that gemmi would leave out, and with it most of the atoms.

    Operations count for more than names. A number alone is refused because it does not say in which setting.
    """
    complaint = crystal.check_spacegroup().strip().replace("\n", "; ")
    if "error while processing symops" in complaint or (complaint and not crystal.symops):
        raise ValueError(f"unusable symmetry: {complaint}")
    if crystal.spacegroup is None and not crystal.symops and crystal.spacegroup_number > 1:
        raise ValueError(f"space group {crystal.spacegroup_number} without symbol or operations")


def _read_json(text: str) -> Cell:
    # Read by hand: pymatgen's own reader decodes site properties with MontyDecoder, which imports and calls
    # whatever class the text names.
    try:
        data = json.loads(text)
        if data["@class"] not in ("Structure", "StructureNL"):
            raise ValueError(f"its class is {data['@class']}")
        lattice = np.array(data["lattice"]["matrix"], float).reshape(3, 3)
        fractional = np.array([site["abc"] for site in data["sites"]], float).reshape(-1, 3)
        species = [
            [(str(s["element"]), float(s["occu"])) for s in site["species"]]
            for site in data["sites"]
        ]
    except (ValueError, TypeError, LookupError, OverflowError, RecursionError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise ValueError(f"not pymatgen's JSON of a Structure ({reason})") from error
    labels = tuple(f"{'/'.join(name for name, _ in s)}{i}" for i, s in enumerate(species))
    for label, site in zip(labels, species, strict=True):
        if len(site) != 1:
            raise ValueError(f"{len(site)} species on site {label}; ordered structures only")
        _check_site(label, *site[0])
    numbers = np.array([ELEMENTS.index(site[0][0]) + 1 for site in species])
    return Cell(lattice, fractional, numbers)


def _check_site(label: str, element: str, occupancy: float) -> None:
    if element in ("D", "T"):
        raise ValueError(f"site {label} is {element}, an isotope; write it as H")
    if element not in ELEMENTS:
        raise ValueError(f"unknown element {element!r} on site {label}")
    if not abs(occupancy - 1) < 1e-3:
        raise ValueError(
            f"partial occupancy on site {label} ({occupancy:g}); ordered structures only"
        )


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
