"""Invariant displacements and strains, over all 230 groups: as many as there should be, and no symmetry is lost."""

import numpy as np
import pytest
import spglib

from wyk.relaxation.free_parameters import Coordinates
from wyk.relaxation.symmetric_crystal import displacements, primitive, strains, without_symmetry

SYSTEMS = {2: 6, 15: 4, 74: 3, 142: 2, 194: 2, 230: 1}  # last group → free lattice parameters
AXES = {  # a, b, c of a cell that has no more symmetry than its system
    6: [[6.1, 0.3, 0.5], [0.7, 6.8, 0.4], [0.2, 0.9, 7.7]],
    4: [[6.1, 0, 0], [0, 6.8, 0], [0.9, 0, 7.7]],
    3: np.diag([6.1, 6.8, 7.7]),
    1: np.eye(3) * 9,
}
HALL = {}  # the first setting of each group
for hall in range(530, 0, -1):
    HALL[spglib.get_spacegroup_type(hall).number] = hall


def general_crystal(number: int):
    """Atoms on two general positions of a group, and operations in the basis of its cell."""
    free = next(k for last, k in SYSTEMS.items() if number <= last)
    lattice = np.array(AXES.get(free, np.diag([8, 8, 9.1])))
    if 142 < number <= 194:
        lattice[1] = [-4, 8 * 3**0.5 / 2, 0]
    operations = spglib.get_symmetry_from_database(HALL[number])
    sites = np.array([[0.12, 0.27, 0.067], [0.31, 0.43, 0.189]])
    points = (
        sites @ operations["rotations"].transpose(0, 2, 1) + operations["translations"][:, None]
    )
    numbers = np.tile([14, 32], len(points))
    return lattice, points.reshape(-1, 3) % 1, numbers, operations["rotations"], free


def found(crystal) -> int:
    fractional = crystal.positions @ np.linalg.inv(crystal.lattice)
    return spglib.get_symmetry_dataset((crystal.lattice, fractional, crystal.numbers), 1e-4).number


@pytest.mark.parametrize("number", range(1, 231))
def test_there_are_as_many_as_free_numbers_and_they_keep_the_group(number):
    lattice, points, numbers, rotations, free = general_crystal(number)
    crystal = primitive(lattice, points, numbers)
    assert found(crystal) == number
    along, stretch = displacements(crystal), strains(crystal)
    polar = 3 - np.linalg.matrix_rank((rotations - np.eye(3)).reshape(-1, 3))
    assert (len(along), len(stretch)) == (6 - polar, free)
    for basis in (along.reshape(len(along), -1), stretch.reshape(free, -1)):
        np.testing.assert_allclose(basis @ basis.T, np.eye(len(basis)), atol=1e-9)
    np.testing.assert_allclose(along.sum(axis=1), 0, atol=1e-9)  # nothing moves as a whole
    coordinates = Coordinates(crystal)
    q = np.random.default_rng(number).normal(0, 0.1, len(coordinates))
    assert found(coordinates.place(q)) == number


@pytest.mark.parametrize("number", [2, 14, 62, 129, 166, 194, 227])
def test_the_check_sees_another_displacement_or_strain(number):
    crystal = primitive(*general_crystal(number)[:3])
    free = Coordinates(without_symmetry(crystal))
    assert len(free) == 3 * len(crystal) - 3 + 6
    rng = np.random.default_rng(number)
    moved, strained = np.zeros((2, len(free)))
    moved[:-6] = rng.normal(0, 0.1, len(free) - 6)
    strained[-6:] = rng.normal(0, 0.3, 6)
    assert found(free.place(moved)) < number
    assert (found(free.place(strained)) < number) == (number > 2)  # P-1 allows all strains


def test_atoms_on_fixed_points_leave_only_the_volume():
    salt = primitive(2.8 * (1 - np.eye(3)), np.array([[0, 0, 0], [0.5] * 3]), np.array([11, 17]))
    coordinates = Coordinates(salt)
    assert len(coordinates) == 1
    other = coordinates.place(np.array([0.3]))
    ratio = (np.linalg.det(other.lattice) / np.linalg.det(salt.lattice)) ** (1 / 3)
    assert abs(ratio - 1) > 0.03
    np.testing.assert_allclose(other.lattice, ratio * salt.lattice, atol=1e-9)


def test_a_centred_cell_becomes_primitive_and_imprecise_places_symmetric():
    lattice, points, numbers, *_ = general_crystal(225)
    rough = points + np.random.default_rng(0).uniform(-2e-5, 2e-5, points.shape)
    crystal = primitive(lattice, rough, numbers)
    assert len(crystal) * 4 == len(points)
    for rotation, image, shift in zip(
        crystal.rotations, crystal.images, crystal.shifts, strict=True
    ):
        fractional = crystal.positions @ np.linalg.inv(crystal.lattice)
        apart = fractional @ rotation.T - fractional[image] - shift
        np.testing.assert_allclose(apart - apart[0], 0, atol=1e-9)  # the same translation for all
