"""From the text of one crystal to its atoms and its representation.

The text may come from strangers: it is refused in a sentence, and nothing in it is executed or imported.
"""

import numpy as np
from pymatgen.core import Structure

from wyk.common import ELEMENTS
from wyk.crystals import WyckoffRepresentation, check_cell, from_cell
from wyk.files.atoms import Cell, unsheared
from wyk.files.cif import read_cif
from wyk.files.formats import read_extxyz, read_json, read_poscar
from wyk.files.readers import Record

READERS = {"cif": read_cif, "json": read_json, "poscar": read_poscar, "extxyz": read_extxyz}


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
    """All atoms in the unit cell of a record; one whose basis is sheared gets a better one.

    Raises:
        ValueError: not one crystal in the record's format; no cell or atoms in it; partial occupancy, deuterium
            or an unknown element; parts that contradict one another.
    """
    if not record.text.strip():
        raise ValueError("empty text")
    try:
        with np.errstate(all="ignore"):  # vast numbers are refused, here or by `check_cell`
            return unsheared(READERS[record.format](record.text))
    except ArithmeticError as error:
        raise ValueError(f"numbers that no crystal has ({error})") from error
