"""Steps stay within their radius and are the best there; updates agree with what was seen."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wyk.relaxation import trust_region


def problem(seed: int):
    rng = np.random.default_rng(seed)
    m = rng.integers(1, 7)
    half = rng.normal(size=(m, m))
    return rng, rng.normal(size=m), half @ half.T + 0.1 * np.eye(m)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.integers(0, 10**6), st.floats(0.01, 3))
def test_no_step_within_the_radius_is_better(seed, radius):
    rng, gradient, hessian = problem(seed)
    step, gain = trust_region.minimise(gradient, hessian, radius)

    def lowers(p):
        return -(gradient @ p + p @ hessian @ p / 2)

    assert np.linalg.norm(step) <= radius * (1 + 1e-9)
    assert gain == pytest.approx(lowers(step))
    others = rng.normal(size=(200, len(step)))
    others *= radius * rng.uniform(size=(200, 1)) / np.linalg.norm(others, axis=1, keepdims=True)
    assert max(map(lowers, others)) <= gain * 1.01 + 1e-9


def test_a_step_leads_away_from_a_saddle_point():
    step, gain = trust_region.minimise(np.array([0.0, 0.1]), np.diag([1.0, -2.0]), 0.5)
    assert step[1] < 0 < gain


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.integers(0, 10**6), st.booleans())
def test_an_update_agrees_with_the_change_of_gradient(seed, negative):
    rng, step, hessian = problem(seed)
    true = np.diag(rng.uniform(0.5, 2, len(step)) * (-1 if negative else 1))
    new = trust_region.update(hessian, step, true @ step)
    np.testing.assert_allclose(new @ step, true @ step, atol=1e-8)
    np.testing.assert_allclose(new, new.T, atol=1e-9)
    if not negative:
        assert np.linalg.eigvalsh(new).min() > 0
    assert not np.allclose(hessian @ step, true @ step)  # there was something to learn
