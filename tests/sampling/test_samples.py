"""Samples: their validity, their distribution, and the conditions they meet or cannot meet."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import fit
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Composition

from wyk.crystals.descriptors import VOCABULARY
from wyk.crystals.representation import WyckoffRepresentation
from wyk.crystals.spacegroups import space_group
from wyk.crystals.tables import from_table, to_table, write_samples
from wyk.files import datasets
from wyk.model import checkpoint
from wyk.model.tokenization import decode, encode, tables
from wyk.sampling.samples import sample, sample_unconstrained
from wyk.sampling.starts import GivenError


def table(*rows: tuple[int, str, str]) -> pd.DataFrame:
    """Representations as a table, each written like (225, "Na Cl", "a b")."""
    representations = [WyckoffRepresentation(g, (*e.split(),), (*w.split(),)) for g, e, w in rows]
    return to_table(representations, [f"r{i}" for i in range(len(rows))])


# --- validity


@pytest.mark.parametrize("temperature", [1e-300, 0.01, 1.0, 100.0, 1e300])
def test_samples_are_formally_valid_at_every_temperature(model, temperature):
    frame = sample(model, 200, temperature=temperature, seed=1)
    rows = from_table(frame)
    assert [r.invalidity() for r in rows] == 200 * [None]
    pd.testing.assert_frame_equal(frame, to_table(rows))
    data = encode(rows, VOCABULARY)
    assert decode(data.space_group, data.elements, data.positions, VOCABULARY) == rows


@pytest.fixture(scope="module")
def unmasked(tmp_path_factory):
    """A model trained without formal masks, as the paper's."""
    path = tmp_path_factory.mktemp("unmasked")
    fit(path, epochs=16, formal_masks=False)
    return checkpoint.load(path)


def test_without_masks_some_samples_are_invalid(unmasked):
    """The judge of validity does find faults, of all three kinds, in samples of a model that can make them."""
    valid, rejected = sample_unconstrained(unmasked, 600, seed=1)
    names = [*valid["material_id"], *rejected["material_id"]]
    assert sorted(names, key=int) == [str(i) for i in range(600)]
    assert [r.invalidity() for r in from_table(valid)] == len(valid) * [None]
    assert [r.invalidity() for r in from_table(rejected)] == rejected["reason"].tolist()
    kinds = ("no occupied Wyckoff position", r"has no Wyckoff position '\(", "fixed set of points")
    found = [rejected["reason"].str.contains(kind).sum() for kind in kinds]
    assert min(found) > 0
    assert sum(found) == len(rejected)
    assert len(valid) > 200
    for r in from_table(rejected):  # it ended where it became invalid
        earlier = WyckoffRepresentation(r.space_group, r.elements[:-1], r.letters[:-1])
        assert len(r.letters) < 2 or earlier.invalidity() is None
    rows = from_table(sample(unmasked, 600, seed=1))
    assert [r.invalidity() for r in rows] == 600 * [None]


def test_the_rejected_are_written_beside_the_others(unmasked, tmp_path):
    out = tmp_path / "samples.parquet"
    valid, rejected = sample_unconstrained(unmasked, 100)
    write_samples(out, valid, rejected)
    assert datasets.load(out)["material_id"].tolist() == valid["material_id"].tolist()
    listed = pd.read_csv(tmp_path / "samples.rejected.csv", dtype={"material_id": str})
    assert listed["material_id"].tolist() == rejected["material_id"].tolist()
    assert listed["reason"].tolist() == rejected["reason"].tolist()
    write_samples(out, sample(unmasked, 3))
    assert [path.name for path in tmp_path.iterdir()] == ["samples.parquet"]


# --- distribution


def next_site(model, number, elements, positions, temperature=1.0, formal=True):
    """Probability of every next site after some known ones, and of STOP, written down plainly."""
    with torch.no_grad():
        context = model.encode(torch.tensor([number]), elements, positions)
        first = (model.element_logits(context, formal) / temperature).softmax(-1)[0]
        expected = {"STOP": first[-1].item()}
        places = (tables().lookup[number] >= 0).nonzero().tolist()
        for e, symbol in enumerate(model.elements):
            question = (context, torch.tensor([0]), torch.tensor([e]))
            logits = model.symmetry_logits(*question, formal)
            second = (logits / temperature).softmax(-1)[0]
            for s in sorted({s for s, _ in places}):
                logits = model.enumeration_logits(*question, torch.tensor([s]), formal)
                third = (logits / temperature).softmax(-1)[0].nan_to_num()
                for i in [i for other, i in places if other == s]:
                    letter = space_group(number).letter(tables().symmetries[s], i)
                    expected[symbol, letter] = (first[e] * second[s] * third[i]).item()
    return expected


def excess(expected, drawn):
    """How far frequencies are from probabilities: χ² per degree of freedom, over what is not too rare."""
    n = sum(drawn.values())
    common = [(p, drawn[key]) for key, p in expected.items() if n * p > 8]
    rest = (1 - sum(p for p, _ in common), n - sum(k for _, k in common))
    return sum((k - n * p) ** 2 / (n * p) for p, k in [*common, rest]) / len(common)


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_first_sites_are_drawn_from_the_model(model, temperature):
    """All three heads, at the temperature asked for and no other."""
    nothing = torch.full((1, 1), -1)
    frame = sample(model, 20_000, temperature=temperature, seed=1, space_groups=[62])
    drawn = Counter((r.elements[0], r.letters[0]) for r in from_table(frame))
    expected = next_site(model, 62, nothing, nothing, temperature)
    assert excess(expected, drawn) < 1.5
    assert excess(next_site(model, 62, nothing, nothing, 1.1 * temperature), drawn) > 2


def test_unconstrained_sites_are_drawn_from_the_model(unmasked):
    nothing = torch.full((1, 1), -1)
    rows = from_table(pd.concat(sample_unconstrained(unmasked, 8000, space_groups=[1])))
    drawn = Counter((r.elements[0], r.letters[0]) if r.letters else "STOP" for r in rows)
    assert drawn["STOP"] > 0
    expected = next_site(unmasked, 1, nothing, nothing, formal=False)
    assert sum(expected.values()) < 0.95  # the rest goes to positions that there are not
    assert excess(expected, drawn) < 1.5
    assert excess(next_site(unmasked, 1, nothing, nothing), drawn) > 2


def test_further_sites_are_drawn_from_the_model(model):
    """Given the site before, and with other structures in the same batch."""
    rows = from_table(sample(model, 60_000, seed=1, space_groups={62: 3, 225: 1}))
    first = Counter((r.elements[0], r.letters[0]) for r in rows if r.space_group == 62)
    (element, letter), n = first.most_common(1)[0]
    assert n > 500
    after = [
        r for r in rows if (r.space_group, r.elements[0], r.letters[0]) == (62, element, letter)
    ]
    drawn = Counter("STOP" if len(r.letters) == 1 else (r.elements[1], r.letters[1]) for r in after)
    data = encode([WyckoffRepresentation(62, (element,), (letter,))], VOCABULARY)
    assert excess(next_site(model, 62, data.elements, data.positions), drawn) < 1.5
    other = torch.tensor([[7]])  # had the known site been another
    assert excess(next_site(model, 62, other, data.positions), drawn) > 2


def test_temperature_acts(model):
    def distinct(temperature):
        rows = from_table(sample(model, 300, temperature=temperature, seed=2, space_groups=[225]))
        return len({r.fingerprint() for r in rows}), np.mean([len(r.letters) for r in rows])

    cold, warm, hot = distinct(0.01), distinct(1.0), distinct(100.0)
    assert cold[0] < warm[0] <= hot[0]
    assert warm[1] < hot[1]


def test_same_seed_same_samples(model):
    first, again, other = (sample(model, 50, seed=s) for s in (5, 5, 6))
    pd.testing.assert_frame_equal(first, again)
    assert not first["elements"].equals(other["elements"])


def test_space_groups_follow_the_data(model):
    counts = pd.Series(model.config["space_group_counts"])
    drawn = sample(model, 2000, seed=1)["space_group"].value_counts()
    assert set(map(str, drawn.index)) <= set(counts.index)
    common = int(counts.idxmax())
    expected = counts.max() / counts.sum()
    assert abs(drawn[common] / 2000 - expected) < 4 * (expected / 2000) ** 0.5


# --- conditions


def least_atoms(start: WyckoffRepresentation, more: int) -> int:
    """Atoms in the primitive cell of a start with so many more sites, at least: by trying one after the other."""
    group = space_group(start.space_group)
    letters = list(start.letters)
    for _ in range(more):
        free = [p for p in group.positions if p.dof or p.letter not in letters]
        letters.append(min(free, key=lambda p: p.multiplicity).letter)
    return sum(group.position(w).multiplicity for w in letters) // group.lattice_points


ANY = (1, 1_000_000)


def possible(start, required, n_elements, sites, atoms) -> bool:
    there = len(set(start.elements))
    kinds = max(len(set(required) | set(start.elements)), n_elements[0])
    more = max(kinds - there, int(not start.letters), sites[0] - len(start.letters))
    return (
        kinds <= n_elements[1]
        and len(start.letters) + more <= sites[1]
        and least_atoms(start, more) <= atoms[1]
    )


def fulfils(r, elements, required, n_elements, sites, atoms) -> bool:
    counts = (
        (len(set(r.elements)), n_elements),
        (len(r.letters), sites),
        (r.n_atoms // space_group(r.space_group).lattice_points, atoms),
    )
    return (
        r.invalidity() is None
        and set(required) <= set(r.elements) <= set(elements or VOCABULARY)
        and all(low <= count <= high for count, (low, high) in counts)
    )


CONDITIONS = st.fixed_dictionaries(
    {
        "elements": st.none() | st.just(["Li", "O", "Fe", "Na", "Cl"]),
        "required": st.lists(st.sampled_from(["Li", "O", "Fe", "Cl"]), unique=True, max_size=3),
        "n_elements": st.sampled_from([ANY, (1, 3), (2, 3), (3, 3), (4, 5)]),
        "sites": st.sampled_from([ANY, (1, 2), (3, 6), (1, 6)]),
        "atoms": st.just(ANY) | st.tuples(st.just(1), st.integers(1, 24)),
    }
)
TEMPERATURES = st.sampled_from([0.5, 1.0, 2.0])
GROUPS = st.lists(st.integers(1, 230), min_size=1, max_size=4, unique=True)
quickly = settings(max_examples=15, deadline=None, derandomize=True)


def contradictory(conditions) -> bool:
    required, (low, high) = set(conditions["required"]), conditions["n_elements"]
    return len(required) > high or low > len(conditions["elements"] or VOCABULARY)


@quickly
@given(conditions=CONDITIONS, groups=GROUPS, temperature=TEMPERATURES, seed=st.integers(0, 99))
def test_conditions_are_met_or_refused(model, conditions, groups, temperature, seed):
    limits = {k: v for k, v in conditions.items() if k != "elements"}
    starts = [WyckoffRepresentation(number, (), ()) for number in groups]
    if contradictory(conditions):
        with pytest.raises(ValueError, match="elements are (required|asked for)"):
            sample(model, 20, temperature, seed, groups, **conditions)
        return
    if not any(possible(s, **limits) for s in starts):
        with pytest.raises(ValueError, match=rf"space group {min(groups)}: at least"):
            sample(model, 20, temperature, seed, groups, **conditions)
        return
    rows = from_table(sample(model, 20, temperature, seed, groups, **conditions))
    assert len(rows) == 20
    assert {r.space_group for r in rows} <= set(groups)
    assert all(fulfils(r, **conditions) for r in rows)


CRYSTALS = from_table(datasets.load("aflow:test"))
PARTS = st.builds(
    lambda r, n: WyckoffRepresentation(r.space_group, r.elements[:n], r.letters[:n]),
    st.sampled_from(CRYSTALS),
    st.integers(0, 6),
)


@quickly
@given(
    parts=st.lists(PARTS, min_size=1, max_size=4),
    conditions=CONDITIONS,
    temperature=TEMPERATURES,
    seed=st.integers(0, 99),
)
def test_parts_are_completed_or_refused(model, parts, conditions, temperature, seed):
    limits = {k: v for k, v in conditions.items() if k != "elements"}
    allowed = set(conditions["elements"] or VOCABULARY)
    if contradictory(conditions):
        return
    refused = [
        i
        for i, part in enumerate(parts, 1)
        if set(part.elements) - allowed or not possible(part, **limits)
    ]
    if refused:
        with pytest.raises(GivenError, match=rf"^row {refused[0]} \({refused[0] - 1}\): "):
            sample(model, 9, temperature, seed, given=to_table(parts), **conditions)
        return
    rows = from_table(sample(model, 9, temperature, seed, given=to_table(parts), **conditions))
    for i, r in enumerate(rows):
        part = parts[i % len(parts)]
        n = len(part.letters)
        assert r.space_group == part.space_group
        assert (r.elements[:n], r.letters[:n]) == (part.elements, part.letters)
        assert fulfils(r, **conditions)


@pytest.mark.parametrize(
    "condition",
    [
        {"elements": ["Li", "O"]},
        {"required": ["O"]},
        {"atoms": (1, 4)},
        {"sites": (1, 2)},
        {"n_elements": (4, 9)},
    ],
)
def test_the_checks_of_conditions_can_fail(model, condition):
    """Without it, samples do break each condition."""
    free = {"elements": None, "required": [], "n_elements": ANY, "atoms": ANY, "sites": ANY}
    rows = from_table(sample(model, 100, seed=1))
    assert all(fulfils(r, **free) for r in rows)
    assert not all(fulfils(r, **free | condition) for r in rows)
    rows = from_table(sample(model, 100, seed=1, **condition))
    assert all(fulfils(r, **free | condition) for r in rows)


def test_excluded_elements_do_not_come(model):
    common = Counter(e for r in from_table(sample(model, 300)) for e in set(r.elements))
    name = common.most_common(1)[0][0]
    rows = from_table(sample(model, 300, excluded=[name]))
    assert all(name not in r.elements for r in rows)


@pytest.mark.parametrize("formula", ["TiO2", "ABX3", "LiFePO4", "A2B3", "Fe"])
def test_formulas_are_met(model, formula):
    """As chemists write them, and whatever the number of formula units."""
    rows = from_table(sample(model, 20, seed=3, formula=formula))
    counts = {tuple(sorted(Composition(r.formula).values())) for r in rows}
    if set(formula) & set("AX"):
        assert counts == {tuple(sorted(Composition(formula.translate(NAMES)).values()))}
        assert len({frozenset(r.elements) for r in rows}) > 5
    else:
        assert {Composition(r.formula) for r in rows} == {Composition(formula)}
    assert all(r.invalidity() is None for r in rows)


NAMES = str.maketrans({"A": "Li", "B": "H", "X": "O"})


def test_a_formula_is_no_larger_than_asked_for(model):
    rows = from_table(sample(model, 60, formula="TiO2", atoms=(6, 6)))
    primitive = [r.n_atoms // space_group(r.space_group).lattice_points for r in rows]
    assert primitive == 60 * [6]


def test_a_part_may_be_complete(model):
    """The model may stop at once, unless a required element is lacking; and it does go on."""
    salt = table((225, "Na Cl", "a b"))
    sizes = [len(r.letters) for r in from_table(sample(model, 300, given=salt))]
    assert 2 in sizes
    assert max(sizes) > 2
    rows = from_table(sample(model, 300, given=salt, required=["O"]))
    assert all("O" in r.elements for r in rows)


def test_a_tight_fit_is_found(model):
    """Room for exactly the required elements, and only if no position that another needs is wasted."""
    required = ["Na", "Cl", "O"]
    frame = sample(model, 100, 100.0, space_groups=[225], required=required, atoms=(1, 4))
    for r in from_table(frame):
        assert sorted(r.letters) == ["a", "b", "c"]
        assert sorted(r.elements) == sorted(required)


def test_groups_that_cannot_meet_the_conditions_are_left_out(model):
    """An error names them if none is left."""
    rows = from_table(sample(model, 300, atoms=(1, 1)))
    assert all(r.n_atoms == space_group(r.space_group).lattice_points for r in rows)
    rows = from_table(sample(model, 300, atoms=(1, 1), space_groups=[225, 227]))
    assert {r.space_group for r in rows} == {225}
    with pytest.raises(
        ValueError, match="^space group 227: at least 2 atoms in the primitive cell"
    ):
        sample(model, 300, atoms=(1, 1), space_groups=[227])
    with pytest.raises(ValueError, match="cannot hold 5 atoms in the primitive cell"):
        sample(model, 300, atoms=(5, 5), space_groups=[225, 227])


def test_groups_follow_their_prior(model):
    """That of the data, of which a group never seen counts once; or one that is given."""
    counts = {int(k): n for k, n in model.config["space_group_counts"].items()}
    common = max(counts, key=counts.get)
    never = next(number for number in range(1, 231) if number not in counts)
    groups = sample(model, 3000, space_groups=[common, never])["space_group"]
    expected = 1 / (counts[common] + 1)
    assert abs((groups == never).mean() - expected) < 4 * (expected / 3000) ** 0.5
    groups = sample(model, 3000, space_groups={common: 1, never: 3})["space_group"]
    assert abs((groups == never).mean() - 0.75) < 4 * (0.75 * 0.25 / 3000) ** 0.5


@pytest.mark.parametrize("conditions", [{}, {"required": ["O"]}])
def test_distinct_samples(model, conditions):
    rows = from_table(sample(model, 80, 0.3, distinct=True, **conditions))
    assert len({r.fingerprint() for r in rows}) == len(rows) == 80
    again = from_table(sample(model, 80, 0.3, **conditions))
    assert len({r.fingerprint() for r in again}) < 80


def test_distinct_samples_may_be_few(model):
    """One atom of one element in a cubic cell: there are not so many."""
    rows = from_table(
        sample(model, 200, distinct=True, formula="Fe", atoms=(1, 1), space_groups=[225])
    )
    assert [(r.elements, r.letters) for r in rows] in ([(("Fe",), ("a",))], [(("Fe",), ("b",))])


@pytest.mark.parametrize(
    ("conditions", "message"),
    [
        ({"temperature": 0}, "temperature 0"),
        ({"temperature": -1}, "temperature -1"),
        ({"temperature": float("nan")}, "temperature nan"),
        ({"space_groups": [231]}, "no space group 231"),
        ({"space_groups": []}, "no space group to sample"),
        ({"elements": ["Rf"]}, "vocabulary has no Rf"),
        ({"elements": []}, "no element is allowed"),
        ({"elements": ["Li"], "required": ["O"]}, "required but not allowed: O"),
        ({"excluded": ["O"], "required": ["O"]}, "required but not allowed: O"),
        ({"excluded": ["O"], "formula": "TiO2"}, "in the formula but not allowed: O"),
        ({"required": ["Li"], "formula": "TiO2"}, "required but not in the formula: Li"),
        (
            {"formula": "TiO2", "n_elements": (3, 3)},
            "the formula has 2 elements, but 3 are asked for",
        ),
        ({"required": ["Li", "O"], "n_elements": (1, 1)}, "2 elements are required, at most 1"),
        ({"elements": ["Li"], "n_elements": (2, 2)}, "2 elements are asked for, only 1 allowed"),
        ({"atoms": (5, 4)}, "5 to 4 atoms: no such number"),
        ({"formula": "TiO2", "atoms": (4, 5)}, "hold 3, 6, 9 … atoms, but 4 to 5 are asked for"),
        ({"required": ["Li", "O"], "sites": (1, 1)}, "at least 2 sites are needed, at most 1"),
        (
            {"space_groups": [194], "required": ["Li", "O"], "atoms": (1, 3)},
            "space group 194: at least 4 atoms in the primitive cell are needed, at most 3",
        ),
        (
            {"space_groups": [225], "formula": "TiO4", "atoms": (1, 5)},
            "space group 225: its Wyckoff positions cannot hold the atoms of the formula",
        ),
        (
            {"given": table((225, "Na", "a")), "space_groups": [225]},
            "space groups of their own",
        ),
    ],
)
def test_conditions_that_cannot_be_met_say_so(model, conditions, message):
    with pytest.raises(ValueError, match=message):
        sample(model, 5, **conditions)


@pytest.mark.parametrize(
    ("row", "conditions", "message"),
    [
        ((225, "Na Cl", "a a"), {}, "2 sites on 4a, which is a fixed set of points"),
        ((225, "Na", "z"), {}, "has no Wyckoff position 'z'"),
        ((225, "Xx", "a"), {}, "'Xx' is not an element"),
        ((225, "Rf", "a"), {}, "vocabulary has no Rf"),
        ((225, "Na Cl", "a"), {}, "2 elements on 1 sites"),
        ((0, "", ""), {}, "there is no space group 0"),
        ((225, "Na Cl", "a b"), {"elements": ["Na"]}, "Cl is not among the allowed elements"),
        ((225, "Na Cl", "a b"), {"sites": (1, 1)}, "at least 2 sites are needed, at most 1"),
        ((225, "Na Cl", "a c"), {"atoms": (1, 2)}, "at least 3 atoms in the primitive cell"),
        (
            (225, "Na Cl", "a b"),
            {"atoms": (1, 2), "required": ["O"]},
            "at least 4 atoms in the",
        ),
        ((225, "Na Cl", "a b"), {"n_elements": (1, 1)}, "at least 2 elements are needed"),
        ((225, "Ti O", "a b"), {"formula": "TiO4", "atoms": (1, 5)}, "cannot hold the atoms"),
    ],
)
def test_rows_that_cannot_be_completed_are_named(model, row, conditions, message):
    good = table((123, "Ti", "a"))
    number, elements, letters = row
    bad = good.assign(
        material_id="bad",
        space_group=number,
        elements=[elements.split()],
        wyckoff_letters=[letters.split()],
    )
    with pytest.raises(GivenError, match=rf"^row \d \(\w+\): .*{message}"):
        sample(model, 5, given=pd.concat([bad, good]), **conditions)


def test_nothing_to_complete(model):
    with pytest.raises(GivenError, match="no representation"):
        sample(model, 5, given=table())
