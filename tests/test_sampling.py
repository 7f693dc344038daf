"""Samples: their validity, their distribution, and the conditions they meet or cannot meet."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import fit
from hypothesis import given, settings
from hypothesis import strategies as st

from wyk import checkpoint, datasets
from wyk.conditions import Conditions, GivenError, from_groups, obstacles
from wyk.representation import WyckoffRepresentation
from wyk.sampling import sample, sample_unconstrained, write
from wyk.spacegroups import space_group
from wyk.tables import from_table, to_table
from wyk.tokenization import VOCABULARY, decode, encode, tables


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
    write(out, valid, rejected)
    assert datasets.load(out)["material_id"].tolist() == valid["material_id"].tolist()
    listed = pd.read_csv(tmp_path / "samples.rejected.csv", dtype={"material_id": str})
    assert listed["material_id"].tolist() == rejected["material_id"].tolist()
    assert listed["reason"].tolist() == rejected["reason"].tolist()
    write(out, sample(unmasked, 3))
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
    frame = sample(model, 20_000, temperature=temperature, seed=1, space_groups=[62], max_sites=1)
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
    """Given some sites, and with other structures in the same batch."""
    known = table((62, "O Ti", "c a"), (225, "Na", "a"))
    frame = sample(model, 20_000, seed=1, given=known, max_sites=3)
    rows = from_table(frame)[::2]
    drawn = Counter("STOP" if len(r.letters) == 2 else (r.elements[2], r.letters[2]) for r in rows)
    data = encode(from_table(known), VOCABULARY)
    assert excess(next_site(model, 62, data.elements[:1], data.positions[:1]), drawn) < 1.5
    other = torch.tensor([[7, 7]])  # had the known sites been others
    assert excess(next_site(model, 62, other, data.positions[:1]), drawn) > 2


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


def possible(start, required, max_atoms, max_sites) -> bool:
    more = len(set(required) - set(start.elements)) or int(not start.letters)
    return (
        len(start.letters) + more <= (max_sites or np.inf)
        and least_atoms(start, more) <= (max_atoms or np.inf)
    )  # fmt: skip


def fulfils(r, elements, required, max_atoms, max_sites) -> bool:
    return (
        r.invalidity() is None
        and set(required) <= set(r.elements) <= set(elements or VOCABULARY)
        and len(r.letters) <= (max_sites or np.inf)
        and r.n_atoms <= (max_atoms or np.inf) * space_group(r.space_group).lattice_points
    )


CONDITIONS = st.fixed_dictionaries(
    {
        "elements": st.none() | st.just(["Li", "O", "Fe", "Na", "Cl"]),
        "required": st.lists(st.sampled_from(["Li", "O", "Fe", "Cl"]), unique=True),
        "max_atoms": st.none() | st.integers(1, 24),
        "max_sites": st.none() | st.integers(1, 6),
    }
)
TEMPERATURES = st.sampled_from([0.1, 1.0, 4.0])
GROUPS = st.lists(st.integers(1, 230), min_size=1, max_size=4, unique=True)
quickly = settings(max_examples=30, deadline=None, derandomize=True)


@quickly
@given(conditions=CONDITIONS, groups=GROUPS, temperature=TEMPERATURES, seed=st.integers(0, 99))
def test_conditions_are_met_or_refused(model, conditions, groups, temperature, seed):
    limits = {name: conditions[name] for name in ("required", "max_atoms", "max_sites")}
    starts = [WyckoffRepresentation(number, (), ()) for number in groups]
    refused = [s for s in starts if not possible(s, **limits)]
    if refused:
        with pytest.raises(ValueError, match=rf"space group {refused[0].space_group}: at least"):
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
    limits = {name: conditions[name] for name in ("required", "max_atoms", "max_sites")}
    allowed = set(conditions["elements"] or VOCABULARY)
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
    [{"elements": ["Li", "O"]}, {"required": ["O"]}, {"max_atoms": 4}, {"max_sites": 2}],
)
def test_the_checks_of_conditions_can_fail(model, condition):
    """Without it, samples do break each condition."""
    free = {"elements": None, "required": [], "max_atoms": None, "max_sites": None}
    rows = from_table(sample(model, 100, seed=1))
    assert all(fulfils(r, **free) for r in rows)
    assert not all(fulfils(r, **free | condition) for r in rows)
    rows = from_table(sample(model, 100, seed=1, **condition))
    assert all(fulfils(r, **free | condition) for r in rows)


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
    frame = sample(model, 100, 100.0, space_groups=[225], required=required, max_atoms=4)
    for r in from_table(frame):
        assert sorted(r.letters) == ["a", "b", "c"]
        assert sorted(r.elements) == sorted(required)


@pytest.mark.parametrize("more", range(1, 7))
def test_least_atoms_of_all_groups(model, more):
    starts, _ = from_groups(model, range(1, 231))
    conditions = Conditions.of(model, required=VOCABULARY[:more], max_atoms=1)
    expected = {}
    for i, number in enumerate(range(1, 231)):
        atoms = least_atoms(WyckoffRepresentation(number, (), ()), more)
        if atoms > 1:
            needed = f"at least {atoms} atoms in the primitive cell are needed, at most 1 allowed"
            expected[i] = f"space group {number}: {needed}"
    assert obstacles(model, starts, conditions) == expected


def test_groups_that_cannot_meet_the_conditions_are_left_out(model):
    """Unless they were asked for."""
    rows = from_table(sample(model, 300, max_atoms=1))
    assert all(r.n_atoms == space_group(r.space_group).lattice_points for r in rows)
    with pytest.raises(
        ValueError, match="^space group 227: at least 2 atoms in the primitive cell"
    ):
        sample(model, 300, max_atoms=1, space_groups=[225, 227])


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
        ({"required": ["Li", "O"], "max_sites": 1}, "at least 2 sites are needed, at most 1"),
        (
            {"space_groups": [194], "required": ["Li", "O"], "max_atoms": 3},
            "space group 194: at least 4 atoms in the primitive cell are needed, at most 3",
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
        ((225, "Na Cl", "a b"), {"max_sites": 1}, "at least 2 sites are needed, at most 1"),
        ((225, "Na Cl", "a c"), {"max_atoms": 2}, "at least 3 atoms in the primitive cell"),
        ((225, "Na Cl", "a b"), {"max_atoms": 2, "required": ["O"]}, "at least 4 atoms in the"),
    ],
)
def test_rows_that_cannot_be_completed_are_named(model, row, conditions, message):
    good = table((123, "Na", "a"))
    number, elements, letters = row
    bad = good.assign(
        material_id="bad",
        space_group=number,
        elements=[elements.split()],
        wyckoff_letters=[letters.split()],
    )
    with pytest.raises(GivenError, match=rf"^row 2 \(bad\): .*{message}"):
        sample(model, 5, given=pd.concat([good, bad]), **conditions)


def test_nothing_to_complete(model):
    with pytest.raises(GivenError, match="no representation"):
        sample(model, 5, given=table())
