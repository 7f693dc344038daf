"""How well atoms have a symmetry, against crystals that miss it by a known amount."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure

from wyk.crystals import symmetry_fit
from wyk.crystals.symmetry_fit import EXACT, SYMPREC, Symmetry, chance, longest, shape
from wyk.crystals.symmetry_search import by_spglib

EDGE = 5.64  # Å
SALT = Structure.from_spacegroup(
    "Fm-3m", Lattice.cubic(EDGE), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]
)
QUARTZ = Structure.from_spacegroup(
    "P3_121",
    Lattice.hexagonal(4.91, 5.40),
    ["Si", "O"],
    [[0.47, 0, 1 / 3], [0.41, 0.27, 0.45]],
)


def seen(structure: Structure, symprec: float = 0.01) -> Symmetry:
    cell = structure.lattice.matrix, structure.frac_coords % 1, np.array(structure.atomic_numbers)
    return by_spglib(cell, symprec)


def shifted(symmetry: Symmetry, shifts: np.ndarray) -> Symmetry:
    """The same claim of symmetry about atoms that were shifted, Å."""
    lattice, fractional, numbers = symmetry.cell
    return replace(symmetry, cell=(lattice, fractional + shifts @ np.linalg.inv(lattice), numbers))


def test_golden_rock_salt():
    found = seen(SALT)
    assert (found.number, found.atoms, found.order, found.whole) == (225, 8, Fraction(192, 8), True)
    assert [p.letter for p in found.positions] == ["a", "b"]
    assert found.held == (3, 3)  # chlorine relative to sodium
    assert found.exact
    assert found.own
    assert found.error < 1e-9
    assert max(found.strain) < 1e-5
    assert found.rarest.tolist() == list(range(8))


def test_golden_quartz():
    """Four coordinates are free: x of silicon and three of oxygen."""
    found = seen(QUARTZ)
    assert (found.number, found.atoms, found.held) == (152, 9, (20, 24))
    assert found.rarest.tolist() == [0, 1, 2]
    assert found.exact


directions = st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda v: np.linalg.norm(v) > 0.1)


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(directions, st.floats(0.001, 0.3), st.integers(0, 7))
def test_the_error_is_what_one_atom_misses_by(direction, length, atom):
    """A single atom that moved is missed by its own shift, up to three times of it from the worst start."""
    shifts = np.zeros((8, 3))
    shifts[atom] = length * np.array(direction) / np.linalg.norm(direction)
    found = shifted(seen(SALT), shifts)
    assert length <= found.error <= 3 * length + 1e-9
    assert found.least_error <= found.error
    assert found.exact == bool(found.error == 0) or length < 2 * EXACT
    assert found.moved.argmax() == atom
    assert found.own == (found.error < SYMPREC / 3 and chance(found.error, 3) < 1e-3)


def test_atoms_that_all_move_alike_have_lost_nothing():
    found = shifted(seen(QUARTZ), np.zeros((9, 3)))
    assert found.evenness == pytest.approx(1, abs=0.5)
    moved = np.tile([0.1, 0.2, 0.3], (9, 1))
    whole = shifted(seen(SALT), moved[:8])  # the crystal, and its operations as they were
    assert whole.least_error < 1e-9
    assert whole.error < 1e-9


@pytest.mark.parametrize(
    "structure", [SALT * (2, 2, 2), QUARTZ * (2, 2, 1)], ids=["salt", "quartz"]
)
def test_the_tree_finds_the_neighbours_that_all_distances_do(structure, monkeypatch):
    rng = np.random.default_rng(0)
    found = shifted(seen(structure), rng.normal(scale=0.02, size=(len(structure), 3)))
    errors = []
    for few in (0, 10**9):
        monkeypatch.setattr(symmetry_fit, "FEW", few)
        errors.append(found._errors_of(np.arange(len(structure))))
    assert np.allclose(*errors, atol=1e-9)
    assert np.abs(errors[0]).max() > 0.02  # not all zero


@settings(max_examples=30, deadline=None, derandomize=True, database=None)
@given(st.floats(-0.5, 0.5), st.floats(-5, 5))
def test_strain_is_what_the_cell_misses_by(stretch, shear):
    found = seen(SALT)
    angles = (90, 90, 90 + shear)
    lattice = Lattice.from_parameters(EDGE, EDGE, EDGE + stretch, *angles).matrix
    length, angle, across = replace(found, cell=(lattice, *found.cell[1:])).strain
    assert length == pytest.approx(abs(stretch), abs=1e-6)
    assert angle == pytest.approx(2 * abs(shear), abs=1e-4)  # 90 + x and 90 - x are exchanged
    assert across <= np.sin(np.radians(angle)) * max(EDGE, EDGE + stretch) + 1e-6


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(st.tuples(*[st.floats(2, 20)] * 3), st.tuples(*[st.floats(65, 115)] * 3))
def test_lengths_and_angles_of_a_metric_are_those_of_its_cell(edges, angles):
    lengths, between = shape(Lattice.from_parameters(*edges, *angles).metric_tensor)
    assert np.allclose(lengths, edges)
    assert np.allclose(np.degrees([between[1, 2], between[0, 2], between[0, 1]]), angles)


def test_small_numbers_by_hand():
    assert longest(np.array([[3.0, 4.0, 0.0], [0.0, 0.0, 1.0]])) == 5
    assert chance(SYMPREC, 30) == 1
    assert chance(SYMPREC / 10, 3) == pytest.approx(1e-3)
