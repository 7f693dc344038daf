"""Crystals in frames: all positions of all groups, real crystals, and moves that keep the group."""

import numpy as np
import pytest
import spglib
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Structure

from wyk.coordinates.frames import BASIS, FREE, empty, of_structure
from wyk.crystals.representation import WyckoffRepresentation, from_structure
from wyk.crystals.spacegroups import space_group
from wyk.files import datasets


def structure(crystal) -> Structure:
    return Structure(crystal.lattice, crystal.numbers, crystal.positions, coords_are_cartesian=True)


def moved(frame, seed=0):
    """A random crystal in a frame, of usual size."""
    rng = np.random.default_rng(seed)
    k = rng.normal(0, 0.1, FREE[frame.family])
    k[0] += np.log(20 * len(frame.crystal)) / 3**0.5
    moves = frame.spread(rng.normal(0, 0.2, (len(frame.dof), 3)))
    fractional = (frame.crystal.positions + moves) @ np.linalg.inv(frame.crystal.lattice)
    return frame.at(fractional, k)


@pytest.mark.parametrize("number", range(1, 231))
def test_every_position_has_its_multiplicity_and_freedom_and_keeps_its_group(number):
    group = space_group(number)
    for position in group.positions:
        frame, anchors = empty(WyckoffRepresentation(number, ("Li",), (position.letter,)))
        assert len(frame.crystal) * group.lattice_points == position.multiplicity
        assert frame.dof.tolist() == [position.dof]
        assert np.linalg.matrix_rank(anchors[0], tol=1e-9) == position.dof
        assert np.allclose(anchors[0] @ frame.projectors[0], anchors[0])
    general = group.letters[-1]
    crystal = moved(empty(WyckoffRepresentation(number, ("Li", "O", "F", "S"), (general,) * 4))[0])
    cell = crystal.lattice, crystal.positions @ np.linalg.inv(crystal.lattice), crystal.numbers
    assert spglib.get_symmetry_dataset(cell, 1e-5).number == number


def test_the_check_sees_a_lattice_that_left_its_family():
    frame, _ = empty(WyckoffRepresentation(225, ("Na", "Cl"), ("a", "b")))
    sheared = frame.at(
        frame.crystal.positions @ np.linalg.inv(frame.crystal.lattice), np.array([2.5, 0.1])
    )
    cell = sheared.lattice, sheared.positions @ np.linalg.inv(sheared.lattice), sheared.numbers
    assert spglib.get_symmetry_dataset(cell, 1e-5).number == 139


def test_the_basis_is_orthonormal():
    assert np.allclose(np.tensordot(BASIS, BASIS, ([1, 2], [1, 2])), np.eye(6))


def test_real_crystals_come_back():
    matcher = StructureMatcher(ltol=0.01, stol=0.01, angle_tol=0.5, scale=False)
    for name, crystal in datasets.structures("aflow:test")[0]:
        frame, fractional, k = of_structure(crystal)
        representation = from_structure(crystal)
        assert frame.number == representation.space_group, name
        assert sorted(frame.dof) == sorted(representation.dof), name
        same = structure(frame.at(fractional, k))
        assert same.volume / len(same) == pytest.approx(crystal.volume / len(crystal), rel=0.02)
        assert matcher.fit(crystal, same), name
    assert not matcher.fit(crystal, structure(frame.at(fractional, k + 0.1)))


def test_what_is_formally_invalid_has_no_frame():
    with pytest.raises(ValueError, match="fixed set of points"):
        empty(WyckoffRepresentation(225, ("Na", "Cl"), ("a", "a")))
