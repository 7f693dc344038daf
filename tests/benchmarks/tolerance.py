"""Whether crystals near the tolerance are given the group they are near, in any order of atoms and in any cell.

Every atom of a prototype is moved by a random vector, even in a ball of 0.02, 0.03 or 0.045 Å, and the crystal is
described in three orders of its atoms and in three cells: the primitive one, a sheared one, and one of twice the atoms,
each with another origin. `found`: share of crystals that have the prototype's group, and of ours its fingerprint;
`order`, `cell`: how many change with the order of the atoms, or with the cell.
Prints one JSON object, and writes it to `figures/benchmarks/tolerance.json`. Takes some minutes of a core.
"""

import os
import sys
from collections.abc import Callable

os.environ["OMP_NUM_THREADS"] = "1"

import moyopy
import numpy as np
import spglib
from publish import publish
from tqdm import tqdm

from wyk.crystals import ANGLE_TOLERANCE, SYMPREC
from wyk.crystals.representation import from_cell
from wyk.files import sources
from wyk.files.cells import read_cell

MOVED = (0.02, 0.03, 0.045)  # Å
APART = (
    0.01,
    0.1,
    0.3,
)  # Å; at all of these spglib and moyo find the same group of a prototype that is taken
SHEARED, DOUBLED = [[1, 0, 0], [-1, 1, 0], [1, 1, 1]], [[1, 1, 0], [-1, 1, 0], [0, 0, 1]]
Cell = tuple[np.ndarray, np.ndarray, np.ndarray]


def by_spglib(cell: Cell, symprec: float = SYMPREC) -> int | None:
    """The group that spglib alone finds."""
    found = spglib.get_symmetry_dataset(cell, symprec, ANGLE_TOLERANCE)
    return found and found.number


def by_moyo(cell: Cell, symprec: float = SYMPREC) -> int | None:
    """The group that moyo alone finds."""
    try:
        found = moyopy.MoyoDataset(moyopy.Cell(*map(np.ndarray.tolist, cell)), symprec=symprec)
    except ValueError:
        return None
    return found.number


def by_us(cell: Cell) -> str | None:
    """Our fingerprint, which tells more than the group."""
    try:
        return from_cell(*cell).fingerprint()
    except ValueError:
        return None


FINDERS = {"spglib": by_spglib, "moyo": by_moyo, "wyk": by_us}


def prototypes() -> list[Cell]:
    """Primitive cells of the embedded AFLOW prototypes that are far from any other group.

    They have two atoms or more, since one alone cannot be moved.
    """
    taken = []
    for record in sources.records("aflow"):
        cell = read_cell(record)
        cell = spglib.find_primitive((cell.lattice, cell.fractional, cell.numbers), APART[0])
        if cell is None or len(cell[2]) < 2 or by_us(cell) is None:
            continue
        if len({find(cell, at) for find in (by_spglib, by_moyo) for at in APART}) == 1:
            taken.append(cell)
    return taken


def moved(cell: Cell, most: float, rng: np.random.Generator) -> Cell:
    """The crystal with each atom moved by up to so many Å, even in a ball."""
    lattice, fractional, numbers = cell
    vectors = rng.normal(size=fractional.shape)
    vectors *= (
        most
        * rng.uniform(size=(len(numbers), 1)) ** (1 / 3)
        / np.linalg.norm(vectors, axis=1)[:, None]
    )
    return lattice, fractional + vectors @ np.linalg.inv(lattice), numbers


def shuffled(cell: Cell, rng: np.random.Generator) -> Cell:
    """The same crystal, its atoms in a random order."""
    order = rng.permutation(len(cell[2]))
    return cell[0], cell[1][order], cell[2][order]


def in_cell(cell: Cell, vectors: list[list[int]], rng: np.random.Generator) -> Cell:
    """The same crystal in a cell of other lattice vectors, with a random origin, in a random order."""
    lattice, fractional, numbers = cell
    back = np.linalg.inv(vectors)
    points = np.stack(np.meshgrid(*3 * [np.arange(-3, 4)]), -1).reshape(-1, 3) @ back
    points = points[((points > -1e-9) & (points < 1 - 1e-9)).all(1)]
    images = (fractional @ back + rng.uniform(size=3))[:, None] + points
    images = images.reshape(-1, 3)
    images -= np.floor(images)
    return shuffled((vectors @ lattice, images, np.repeat(numbers, len(points))), rng)


def judge(cells: list[Cell], most: float, finders: dict[str, Callable], seed: int = 0) -> dict:
    """How many crystals each program finds, and how many of its answers change with the description."""
    rng = np.random.default_rng(seed)
    counts = {name: {"found": 0, "order": 0, "cell": 0} for name in finders}
    for parent in tqdm(cells, desc=f"{most} Å", disable=None):
        crystal = moved(parent, most, rng)
        orders = [crystal, shuffled(crystal, rng), shuffled(crystal, rng)]
        others = [in_cell(crystal, SHEARED, rng), in_cell(crystal, DOUBLED, rng)]
        for name, find in finders.items():
            expected, first = find(parent), find(crystal)
            counts[name]["found"] += first == expected
            counts[name]["order"] += len({first, *map(find, orders[1:])}) > 1
            counts[name]["cell"] += len({first, *map(find, others)}) > 1
    return counts


def main() -> None:
    cells = prototypes()[: int(sys.argv[1]) if len(sys.argv) > 1 else None]
    result = {"prototypes": len(cells), "symprec": SYMPREC}
    for most in MOVED:
        counts = judge(cells, most, FINDERS)
        for count in counts.values():
            count["share"] = round(count["found"] / len(cells), 3)
        result[f"moved by {most}"] = counts
    publish("tolerance", result)


if __name__ == "__main__":
    main()
