"""From the text of one crystal to its atoms and its representation.

The text may come from strangers: it is refused in a sentence, and nothing in it is executed or imported.
"""

import json
from dataclasses import dataclass

import gemmi
import numpy as np
from pymatgen.core import Structure

from wyk.readers import Record
from wyk.representation import (
    ELEMENTS,
    MOST_ATOMS,
    WyckoffRepresentation,
    check_cell,
    from_cell,
)

MOST_OPERATIONS = 192  # of symmetry, in a conventional cell: those of the groups 225 to 228


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
