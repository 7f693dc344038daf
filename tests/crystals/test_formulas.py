"""Formulas: what is read, what has them, and which positions can hold their atoms, against trying all."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wyk.crystals.formulas import Formula, fillable, fixed_sizes, free_sizes, holds, openings
from wyk.crystals.spacegroups import space_group


@pytest.mark.parametrize(
    ("text", "counts", "elements"),
    [
        ("LiFePO4", (1, 1, 1, 4), ("Li", "Fe", "P", "O")),
        ("Ti2O4", (1, 2), ("Ti", "O")),
        ("Ca(OH)2", (1, 2, 2), ("Ca", "O", "H")),
        ("Fe", (1,), ("Fe",)),
        ("CO", (1, 1), ("C", "O")),
        ("ABX3", (1, 1, 3), None),
        ("A2B2X6", (1, 1, 3), None),
        ("AB", (1, 1), None),
    ],
)
def test_formulas_are_read(text, counts, elements):
    assert Formula.parse(text) == Formula(counts, elements)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is no formula"),
        ("tio2", "is no formula"),
        ("Ti O2", "is no formula"),
        ("TiO2-x", "is no formula"),
        ("Fe2(SO4", "is no formula"),
        ("H0", "an element without atoms"),
        ("XxO", "Xx is no chemical element"),
        ("ABO3", r"mixes elements \(O\) .* and require O"),
        ("CsPbX3", r"mixes elements \(Cs, Pb\) .* and require Cs,Pb"),
    ],
)
def test_what_is_no_formula_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        Formula.parse(text)


def test_formulas_are_matched():
    elements = ("Ti", "O", "Li")
    atoms = torch.tensor([[2, 4, 0], [4, 2, 0], [2, 4, 1], [0, 0, 0], [8, 0, 16], [3, 3, 0]])
    exact, like = Formula.parse("TiO2"), Formula.parse("AB2")
    assert exact.matches(atoms, elements).tolist() == [True, False, False, False, False, False]
    assert like.matches(atoms, elements).tolist() == [True, True, False, False, True, False]


def sums(number: int, most: int) -> set[int]:
    """Atoms that positions with freedom can hold, by adding up."""
    found = {0}
    for _ in range(most):
        found |= {n + size for n in found for size in free_sizes(number) if n + size <= most}
    return found


def held(number: int, fixed: tuple[int, ...], atoms: tuple[int, ...]) -> bool:
    """`fillable` by giving every free fixed position to every element, or to none."""
    places = [s for s, n in zip(fixed_sizes(number), fixed, strict=True) for _ in range(n)]
    reach = sums(number, max(atoms))
    for owners in itertools.product(range(-1, len(atoms)), repeat=len(places)):
        left = list(atoms)
        for size, owner in zip(places, owners, strict=True):
            if owner >= 0:
                left[owner] -= size
        if all(n in reach for n in left):
            return True
    return False


@pytest.mark.parametrize("number", range(1, 231))
def test_positions_of_all_groups_hold_what_they_can(number):
    whole = [p.multiplicity for p in space_group(number).positions if p.dof == 0]
    fixed = tuple(min(whole.count(size), 2) for size in fixed_sizes(number))
    points = space_group(number).lattice_points
    for atoms in ((points, points), (points, 2 * points), (3 * points,), (2, 6)):
        assert fillable(number, fixed, tuple(sorted(atoms))) == held(number, fixed, atoms), atoms


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    number=st.sampled_from([1, 2, 47, 62, 136, 194, 221, 225, 227, 230]),
    text=st.sampled_from(["TiO2", "ABX3", "Li2TiO3"]),
    known=st.lists(st.integers(0, 8), min_size=2, max_size=2),
)
def test_openings_are_those_that_leave_room(number, text, known):
    """Each next site is offered if, and only if, one number of formula units can still be reached."""
    formula, most = Formula.parse(text), 24
    fixed = tuple(
        sum(p.dof == 0 and p.multiplicity == size for p in space_group(number).positions) % 3
        for size in fixed_sizes(number)
    )
    if formula.elements:
        there = dict.fromkeys(formula.elements, 0) | dict(
            zip(formula.elements, known, strict=False)
        )
    else:
        there = {e: n for e, n in zip(("Na", "Cl"), known, strict=True) if n}
    found = openings(formula, number, fixed, tuple(there.items()), 1, most)
    for free, sizes in ((False, fixed_sizes(number)), (True, free_sizes(number))):
        for i, size in enumerate(sizes):
            for element in [*there, *([] if formula.elements else [None])]:
                left = fixed
                if not free:
                    left = tuple(n - (k == i) for k, n in enumerate(fixed))
                    if min(left) < 0:
                        continue
                new = dict(there)
                new[element or "Xe"] = new.get(element or "Xe", 0) + size
                expected = any(
                    missing is not None and held_cached(number, left, missing)
                    for missing in leftovers(formula, new, most)
                )
                assert ((element, free, size) in found) == expected, (element, free, size)


def held_cached(number, fixed, missing) -> bool:
    missing = tuple(sorted(n for n in missing if n))
    return not missing or fillable(number, fixed, missing)


def leftovers(formula: Formula, atoms: dict[str, int], most: int):
    """What is missing for each number of formula units and each way to give the counts to elements."""
    for units in range(1, most // sum(formula.counts) + 1):
        if formula.elements:
            orders = [formula.counts]
            have = [atoms[e] for e in formula.elements]
        else:
            have = [*atoms.values()]
            have += [0] * (len(formula.counts) - len(have))
            orders = set(itertools.permutations(formula.counts))
        for counts in orders:
            missing = [units * c - n for c, n in zip(counts, have, strict=True)]
            yield missing if min(missing) >= 0 else None


@pytest.mark.parametrize("number", range(1, 231))
def test_numbers_of_atoms_are_those_of_some_positions(number):
    """With all positions free, and with every second one of those without freedom taken."""
    positions, most = space_group(number).positions, 60
    fixed = [p for p in positions if p.dof == 0]
    for left in (fixed, fixed[::2]):
        sums = {0}
        for position in [*left, *(p for p in positions if p.dof)]:
            times = 1 if position.dof == 0 else most // position.multiplicity
            sums |= {s + k * position.multiplicity for s in sums for k in range(times + 1)}
        sizes = [p.multiplicity for p in left]
        free = tuple(map(sizes.count, fixed_sizes(number)))
        for low, high in [(n, n + k) for k in (0, 3) for n in range(1, most - k)]:
            assert holds(number, free, low, high) == any(n in sums for n in range(low, high + 1))
