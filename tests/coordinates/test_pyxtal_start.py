"""A draw has the representation that was asked for; a seed is a crystal; draws follow the free numbers."""

import signal
import time

import numpy as np
import pytest
from conftest import HEUSLER, INVALID, LOW, PEROVSKITE, RUTILE, SALT

from wyk.coordinates import pyxtal_start
from wyk.crystals.representation import WyckoffRepresentation, from_structure


@pytest.mark.parametrize("representation", [SALT, HEUSLER, RUTILE, PEROVSKITE, LOW])
def test_a_draw_has_the_representation(representation):
    crystal = pyxtal_start.draw(representation, seed=[0, 1])
    assert from_structure(crystal).fingerprint() == representation.fingerprint()
    assert len(crystal) == representation.n_atoms


def test_a_seed_is_a_crystal():
    one, again, other = (pyxtal_start.draw(LOW, seed) for seed in ([1, 2], [1, 2], [1, 3]))
    np.testing.assert_array_equal(one.frac_coords, again.frac_coords)
    np.testing.assert_array_equal(one.lattice.matrix, again.lattice.matrix)
    assert not np.allclose(one.frac_coords, other.frac_coords)


def test_a_draw_stops_in_time():
    before = signal.getsignal(signal.SIGALRM)
    large = WyckoffRepresentation(227, ("O",) * 4, ("i",) * 4)
    start = time.monotonic()
    with pytest.raises(TimeoutError, match=r"longer than 0\.05 s"):
        pyxtal_start.draw(large, seed=0, timeout=0.05)
    assert time.monotonic() - start < 5
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_an_invalid_representation_is_not_drawn():
    with pytest.raises(ValueError, match="2 sites on 4a"):
        pyxtal_start.draw(INVALID, seed=0)


@pytest.mark.parametrize(
    ("representation", "free", "draws"),
    [(SALT, 1, 2), (RUTILE, 3, 2), (LOW, 15, 8), (INVALID, 1, 1)],
)
def test_more_draws_where_more_is_free(representation, free, draws):
    assert pyxtal_start.free_numbers(representation) == free
    assert pyxtal_start.number(representation, (2, 4, 6, 8)) == draws
    assert pyxtal_start.number(representation, (3,)) == (1 if representation is INVALID else 3)


def test_shapes_of_cells_vary():
    shapes = [
        lattice.c / lattice.a
        for lattice in (pyxtal_start.draw(RUTILE, k).lattice for k in range(20))
    ]
    assert min(shapes) < 0.6
    assert max(shapes) > 1.6
