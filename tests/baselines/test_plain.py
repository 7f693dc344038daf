"""Representations made without a model: formally valid, and as like the known ones as they claim to be."""

from collections import Counter

import pytest

from wyk import baselines
from wyk.baselines.plain import random_positions, substitution
from wyk.common.estimates import ks
from wyk.crystals.descriptors import similar_elements
from wyk.crystals.representation import ELEMENTS, WyckoffRepresentation
from wyk.crystals.spacegroups import space_group
from wyk.crystals.tables import from_table
from wyk.files import datasets
from wyk.studies.summaries import counts

N = 2000


@pytest.fixture(scope="module")
def known():
    return from_table(datasets.load("aflow:train"))


@pytest.mark.parametrize("kind", ["random", "substitution"])
def test_valid_and_the_same_for_the_same_seed(kind, known):
    make = baselines.BASELINES[kind].generate
    made = make(known, N, seed=1)
    assert len(made) == N
    assert not [r for r in made if r.invalidity()]
    assert make(known, N, seed=1) == made
    assert make(known, N, seed=2) != made


def primitive(crystal: WyckoffRepresentation) -> int:
    return crystal.n_atoms // space_group(crystal.space_group).lattice_points


def test_random_positions_have_known_groups_and_elements_and_sizes(known):
    made = random_positions(known, N)
    assert {r.space_group for r in made} <= {r.space_group for r in known}
    assert max(map(primitive, made)) <= max(map(primitive, known))
    for kind in (lambda r: len(set(r.elements)), lambda r: r.space_group):
        assert distance(kind, made, known) < 0.06
    # the negative control: positions were not learned
    assert distance(lambda r: r.degrees_of_freedom, made, known) > 0.1


def distance(kind, made, known) -> float:
    """KS statistic of a number that crystals have."""
    values = [[kind(r) for r in each] for each in (made, known)]
    shares = []
    for each in values:
        table = counts("value", each).set_index("value")["crystals"] / len(each)
        shares.append(table.reindex(range(max(map(max, values)) + 1), fill_value=0).to_numpy())
    return float(ks(*shares))


def test_elements_are_as_frequent_as_in_known_crystals():
    """One element is in all of them, four in a quarter each."""
    crystals = [
        WyckoffRepresentation(225, ("O", element), ("a", "b"))
        for element in ("Na", "Mg", "Al", "Si") * 25
    ]
    made = random_positions(crystals, N)
    both = [set(r.elements) for r in made if len(set(r.elements)) == 2]  # one fills some cells
    share = Counter(element for elements in both for element in elements)
    assert share["O"] == pytest.approx((1 / 2 + 1 / 2 * 4 / 7) * len(both), rel=0.05)
    assert max(share[e] for e in ("Na", "Mg", "Al", "Si")) < 0.4 * len(both)


def test_substitution_exchanges_one_element_for_a_similar_one(known):
    templates = Counter((r.space_group, r.letters) for r in known)
    symbols = sorted({element for r in known for element in r.elements}, key=ELEMENTS.index)
    rows = similar_elements(symbols).tolist()
    similar = {a: {symbols[i] for i in row} for a, row in zip(symbols, rows, strict=True)}
    for made in substitution(known, 300):
        assert (made.space_group, made.letters) in templates
        assert any(exchanged(made, other, similar) for other in known)
    same = known[0]
    assert not exchanged(same, same, similar)


def test_substitution_without_another_element_is_refused():
    salt = WyckoffRepresentation(225, ("Na", "Cl"), ("a", "b"))
    with pytest.raises(ValueError, match="no known crystal lacks an element similar"):
        substitution([salt, salt], 3)
    other = WyckoffRepresentation(221, ("Po",), ("a",))
    assert len(substitution([salt, other], 3)) == 3


def exchanged(made, other, similar) -> bool:
    if (made.space_group, made.letters) != (other.space_group, other.letters):
        return False
    pairs = {(b, a) for a, b in zip(made.elements, other.elements, strict=True) if a != b}
    (old, new), *more = pairs or {(None, None)}
    whole = all(a != b for a, b in zip(made.elements, other.elements, strict=True) if b == old)
    return old is not None and not more and whole and new in similar[old]
