"""How many numbers describe a crystal (paper, Figure 2)."""

from bisect import bisect_left
from collections.abc import Sequence

import pandas as pd

from wyk.crystals.representation import WyckoffRepresentation
from wyk.crystals.spacegroups import space_group


def free_numbers(representation: WyckoffRepresentation) -> int:
    """Free coordinates of all sites and free parameters of the cell: what a relaxation can change."""
    last_groups = (2, 15, 74, 194, 230)  # triclinic, monoclinic, orthorhombic, with one axis, cubic
    cell = (6, 4, 3, 2, 1)[bisect_left(last_groups, representation.space_group)]
    return representation.degrees_of_freedom + cell


def parameter_counts(representations: Sequence[WyckoffRepresentation]) -> pd.DataFrame:
    """How many numbers describe each crystal, counted as in the caption of the paper's Figure 2.

    Returns:
        One row per crystal: `point_cloud` (three coordinates per atom of the primitive cell and six of the
        lattice), `continuous` (free coordinates and free lattice parameters) and `discrete` (the space group and
        one Wyckoff position per site).
    """
    rows = []
    for crystal in representations:
        atoms = crystal.n_atoms // space_group(crystal.space_group).lattice_points
        rows.append((3 * atoms + 6, free_numbers(crystal), 1 + len(crystal.letters)))
    return pd.DataFrame(rows, columns=["point_cloud", "continuous", "discrete"])
