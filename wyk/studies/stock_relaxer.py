"""Two relaxers from the same starts: ours, and the one that CHGNet brings (paper, §3.4)."""

import contextlib
import io
import warnings
from collections.abc import Sequence
from functools import cache

import numpy as np
import pandas as pd
from chgnet.model import StructOptimizer
from pymatgen.core import Structure

from wyk import relaxation
from wyk.coordinates import pyxtal_start
from wyk.crystals import WyckoffRepresentation
from wyk.relaxation import primitive

STEPS = 500  # at most, as StructOptimizer has it
OURS, STOCK = "in Wyckoff parameters", "StructOptimizer"


def stock(structure: Structure) -> relaxation.Relaxed:
    """Relax the primitive cell as `chgnet.model.StructOptimizer` does: FIRE, FrechetCellFilter."""
    numbers = np.array(structure.atomic_numbers)
    cell = primitive(structure.lattice.matrix, structure.frac_coords, numbers)
    start = Structure(cell.lattice, cell.numbers, cell.positions, coords_are_cartesian=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = _optimizer().relax(start, fmax=relaxation.FMAX, steps=STEPS, verbose=False)
    energies = found["trajectory"].energies[:-1]  # the last stands there twice
    path = tuple(energy / len(start) for energy in energies)
    converged = len(path) <= STEPS
    return relaxation.Relaxed(found["final_structure"], path[-1], len(path), converged, None, path)


@cache
def _optimizer() -> StructOptimizer:
    with contextlib.redirect_stdout(io.StringIO()):  # it greets
        return StructOptimizer(use_device="cpu")


def compare(representations: Sequence[WyckoffRepresentation], seed: int) -> pd.DataFrame:
    """Energies on the way down, of one draw of each representation.

    Returns:
        Columns `start` (index of the representation), `relaxer`, `call` (from 1) and `energy` (eV/atom). A draw or
        a relaxation that fails has no rows.
    """
    rows = []
    for i, representation in enumerate(representations):
        try:
            draw = pyxtal_start.draw(representation, [seed, i])
            paths = {OURS: relaxation.relax(draw).path, STOCK: stock(draw).path}
        except Exception:  # pyXtal and the stock relaxer raise of all kinds
            continue
        for relaxer, path in paths.items():
            rows += [(i, relaxer, call, energy) for call, energy in enumerate(path, start=1)]
    return pd.DataFrame(rows, columns=["start", "relaxer", "call", "energy"])


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Force calls and last energy of each start, one row each.

    Args:
        table: of `compare`.
    """
    ends = table.groupby(["start", "relaxer"]).agg(
        calls=("call", "max"), last_energy=("energy", "last")
    )
    return ends.unstack().round(3)
