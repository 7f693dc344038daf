"""The symmetry that spglib or moyo sees in a cell, at any tolerance."""

import itertools
import logging
import os

os.environ.setdefault("SPGLIB_WARNING", "OFF")  # its C code writes every retry to stderr

import moyopy
import numpy as np
import spglib

from wyk.crystals.symmetry_fit import EXACT, Cell, Symmetry, shape

ANGLE_TOLERANCE = 5  # degrees
NEAREST = np.array(list(itertools.product((-1, 0, 1), repeat=3)))  # lattice points
logging.getLogger("moyo").setLevel(logging.CRITICAL)  # it warns about every supercell


def by_spglib(cell: Cell, symprec: float) -> Symmetry | None:
    """What spglib finds at a tolerance, Å."""
    try:
        found = spglib.get_symmetry_dataset(cell, symprec, ANGLE_TOLERANCE)
    except spglib.SpglibError:
        return None
    if found is None:
        return None
    # `equivalent_atoms` would split orbits in a supercell that breaks the symmetry; these do not
    orbits, letters = found.crystallographic_orbits, found.wyckoffs
    rotations, translations = found.rotations, found.translations
    return Symmetry(cell, found.number, letters, orbits, rotations, translations, symprec)


def by_moyo(cell: Cell, symprec: float) -> Symmetry | None:
    """What moyo finds at a tolerance, Å; where its search would not end is for `ends` to say."""
    try:
        found = moyopy.MoyoDataset(moyopy.Cell(*map(np.ndarray.tolist, cell)), symprec=symprec)
    except ValueError:
        return None
    operations = found.operations
    rotations, translations = np.array(operations.rotations), np.array(operations.translations)
    orbits = np.array(found.orbits)
    return Symmetry(cell, found.number, found.wyckoffs, orbits, rotations, translations, symprec)


def ends(cell: Cell, symprec: float) -> bool:
    """Whether moyo's search will end.

    It multiplies all maps of the lattice that it finds at its tolerance until no new one appears. Where the tolerance
    is large for the lattice, this never happens: a shear can be among them. So they must be few at 1.5 times that.
    """
    lattices = [cell[0]]
    smaller = spglib.find_primitive(cell, symprec)
    if smaller is not None and len(smaller[2]) < len(cell[2]):
        lattices.append(_shortest(smaller[0]))
    return all(_few_maps(lattice, 1.5 * symprec) for lattice in lattices)


def _few_maps(lattice: np.ndarray, tolerance: float) -> bool:
    """Whether the maps of a lattice onto itself, to a tolerance in lengths and across, generate a finite group."""
    metric = lattice @ lattice.T
    lengths, angles = shape(metric)
    longer = np.linalg.norm(NEAREST @ lattice, axis=1)[:, None] - lengths
    maps = itertools.product(*(NEAREST[row] for row in (np.abs(longer) < tolerance).T))
    maps = np.array(list(maps), int).reshape(-1, 3, 3)
    maps = maps[np.abs(np.rint(np.linalg.det(maps))) == 1]
    turned = np.abs(shape(maps @ metric @ maps.transpose(0, 2, 1))[1] - angles)
    across = np.sin(turned) * np.minimum(lengths[:, None], lengths)
    maps = maps[across.max((1, 2)) < tolerance]
    while len(maps) <= 48:  # no finite group of them has more
        products = (maps[:, None] @ maps).reshape(-1, 3, 3)
        names = (products.reshape(-1, 9) + 8) @ 17 ** np.arange(9)  # one number for each
        products = products[np.unique(names, return_index=True)[1]]
        if len(products) == len(maps):
            return True
        maps = products
    return False


def reduced(cell: Cell) -> Cell:
    """The same crystal in a primitive cell with the shortest vectors."""
    lattice, fractional, numbers = spglib.find_primitive(cell, EXACT / 10) or cell
    shortest = _shortest(lattice)
    fractional = fractional @ lattice @ np.linalg.inv(shortest)
    return shortest, fractional - np.floor(fractional), numbers


def _shortest(lattice: np.ndarray) -> np.ndarray:
    """The same lattice by its shortest vectors."""
    shortest = spglib.niggli_reduce(lattice)
    if shortest is None:
        return lattice
    change = np.rint(shortest @ np.linalg.inv(lattice))  # niggli_reduce may turn the lattice
    return change @ lattice if round(abs(np.linalg.det(change))) == 1 else lattice
