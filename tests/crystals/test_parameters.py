"""Numbers that describe a crystal, against counting them in all groups."""

import gemmi
import numpy as np
import pytest
from conftest import HEUSLER, LOW, PEROVSKITE, RUTILE

from wyk.crystals.parameters import free_numbers, parameter_counts
from wyk.crystals.representation import WyckoffRepresentation
from wyk.crystals.spacegroups import space_group


@pytest.mark.parametrize(
    ("group", "cell"),
    [(1, 6), (2, 6), (3, 4), (15, 4), (16, 3), (74, 3), (75, 2), (194, 2), (195, 1)],
)
def test_free_parameters_of_the_cell(group, cell):
    one = WyckoffRepresentation(group, ("O",), ("a",))
    assert free_numbers(one) == cell + one.degrees_of_freedom


def free_cells(rotations: np.ndarray) -> int:
    """Dimensions of the metrics that rotations leave as they are: the trace of the projection onto them."""
    images = [np.kron(r, r) for r in rotations.transpose(0, 2, 1)]
    mean = np.mean(images, 0)
    swap = np.eye(9).reshape(3, 3, 3, 3).swapaxes(0, 1).reshape(9, 9)
    return round(np.trace(mean @ (np.eye(9) + swap) / 2))


@pytest.mark.parametrize("number", range(1, 231))
def test_all_positions_have_their_coordinates_and_their_cell(number):
    """Counted from the operations: cells that they leave as they are, and points that a site's own do."""
    operations = list(gemmi.find_spacegroup_by_number(number).operations())
    cell = free_cells(np.array([op.rot for op in operations]) / gemmi.Op.DEN)
    for letter in space_group(number).letters:
        one = WyckoffRepresentation(number, ("O",), (letter,))
        assert free_numbers(one) == cell + one.degrees_of_freedom
        assert parameter_counts([one])["discrete"].tolist() == [2]


def test_the_count_sees_another_system():
    cubic, tetragonal = np.array([[[0, 1, 0], [0, 0, 1], [1, 0, 0]]]), np.eye(3)[None]
    assert free_cells(np.concatenate([tetragonal] * 2)) == 6
    turns = [np.linalg.matrix_power(cubic[0], k) for k in range(3)]
    assert free_cells(np.array(turns)) == 2  # rhombohedral: an edge and an angle


def test_well_known_crystals_are_counted_as_in_figure_2():
    """Atoms of the primitive cell: 4 of a Heusler compound, 6 of rutile, 5 of a perovskite."""
    table = parameter_counts([HEUSLER, RUTILE, PEROVSKITE, LOW])
    assert table["point_cloud"].tolist() == [18, 24, 21, 27]
    assert table["continuous"].tolist() == [1, 3, 1, 15]
    assert table["discrete"].tolist() == [4, 3, 4, 5]
