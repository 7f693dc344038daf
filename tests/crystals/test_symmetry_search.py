"""What spglib and moyo see, and where moyo would not end."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tolerance import in_cell

from wyk.crystals.symmetry import BY_MOYO, symmetry
from wyk.crystals.symmetry_search import by_moyo, by_spglib, ends, reduced
from wyk.files import datasets


@pytest.fixture(scope="module")
def parents():
    crystals = [crystal for _, crystal in datasets.structures("aflow:test")[0][::3]]
    return [(c.lattice.matrix, c.frac_coords, np.array(c.atomic_numbers)) for c in crystals]


def test_moyo_is_not_asked_about_cells_on_which_it_hangs():
    lattice = np.array([[1.5611, 0, 0], [-0.0066, 2.8543, 0], [-0.1752, -0.7516, 69.987]])
    fractional = np.array([[0.86, 0.73, 0.29], [0.3, 0.18, 0.88], [0.68, 0.58, 0.07]])
    cell = reduced((lattice, fractional, np.array([3, 3, 3])))
    assert not ends(cell, BY_MOYO[0])
    assert ends(cell, BY_MOYO[-1])
    assert symmetry(cell).number == 1


def test_both_programs_see_the_same_group_and_as_many_operations(parents):
    for lattice, fractional, numbers in parents:
        cell = (lattice, fractional % 1, numbers)
        one, other = by_spglib(cell, 0.01), by_moyo(cell, 0.01)
        assert (one.number, one.order, one.atoms) == (other.number, other.order, other.atoms)
        assert {one.symprec, other.symprec} == {0.01}


def test_a_cell_in_which_nothing_can_be_found_is_none(parents):
    lattice = parents[0][0]
    same = lattice, np.zeros((2, 3)), np.array([6, 6])  # two atoms in one place
    assert by_spglib(same, 0.1) is None
    assert by_moyo(same, 0.1) is None


def test_a_reduced_cell_is_the_same_crystal_in_its_smallest_cell(parents):
    """As many atoms as the primitive cell has, as dense, with the same group, from any supercell."""
    rng = np.random.default_rng(5)
    for cell in parents[:8]:
        wide = in_cell(cell, [[2, 0, 0], [1, 1, 0], [0, 0, 3]], rng)
        small, again = reduced(cell), reduced(wide)
        assert len(again[2]) == len(small[2]) <= len(cell[2])
        assert abs(np.linalg.det(again[0])) == pytest.approx(abs(np.linalg.det(small[0])))
        dense = [len(c[2]) / abs(np.linalg.det(c[0])) for c in (cell, small)]
        assert dense[0] == pytest.approx(dense[1])
        assert ((again[1] >= 0) & (again[1] <= 1)).all()
        assert (
            by_spglib(again, 0.01).number == by_spglib((cell[0], cell[1] % 1, cell[2]), 0.01).number
        )


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(st.tuples(*[st.floats(3, 9)] * 3), st.integers(0, 2**20))
def test_moyo_may_be_asked_about_usual_cells(edges, seed):
    lattice = np.diag(edges) + np.random.default_rng(seed).normal(scale=0.05, size=(3, 3))
    cell = lattice, np.zeros((1, 3)), np.array([6])
    assert all(ends(cell, symprec) for symprec in BY_MOYO)
