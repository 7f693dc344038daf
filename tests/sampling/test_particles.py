"""Samples under conditions: of the same distribution as free samples that fulfil them."""

from collections import Counter

import conditional
import pytest
import torch
from two_samples import compare

from wyk.crystals.representation import WyckoffRepresentation
from wyk.crystals.spacegroups import space_group
from wyk.crystals.tables import from_table, to_table
from wyk.likelihood.sets import set_log_p
from wyk.model.tokenization import decode, encode
from wyk.sampling import particles
from wyk.sampling.conditions import Conditions
from wyk.sampling.populations import systematic
from wyk.sampling.samples import free_that_fulfil, sample
from wyk.sampling.starts import from_groups, from_representations

LEVEL = 0.01  # of all properties together
N = 120
CONDITIONS = {"O": {"required": ["O"]}, "Fe and O": {"required": ["Fe", "O"]}}


def drawn(model, n: int, seed: int, space_groups=None, **asked) -> list[WyckoffRepresentation]:
    """Samples by particles, also where free samples would do."""
    starts, prior = from_groups(model, space_groups)
    stratum = torch.zeros(len(prior), dtype=torch.long)
    generator = torch.Generator().manual_seed(seed)
    conditions = Conditions.of(model, **asked)
    found = particles.draw(
        model, starts, prior, stratum, torch.tensor([n]), 1.0, conditions, generator
    )
    return decode(*found, model.elements)


@pytest.mark.parametrize("name", CONDITIONS)
def test_samples_are_as_free_ones_that_fulfil_the_conditions(published, name):
    ours = drawn(published, N, 1, **CONDITIONS[name])
    theirs, _ = free_that_fulfil(published, N, 2, 20_000, **CONDITIONS[name])
    found = compare(ours, from_table(theirs), published, shuffles=5000)
    assert len(found) == 8
    assert min(test["p"] for test in found.values()) > LEVEL / len(found) / len(CONDITIONS)


def test_the_comparison_sees_the_sampler_of_the_first_edition(published):
    """STOP forbidden until the condition holds, and no weights: too many sites."""
    condition = {"required": ["Li"]}
    ours = conditional.forced(published, 30, 1, **condition)
    assert len(ours) == 30
    assert all("Li" in r.elements for r in ours)
    theirs = from_table(free_that_fulfil(published, N, 2, 20_000, **condition)[0])
    found = compare(ours, theirs, published, shuffles=5000)
    assert min(test["p"] for test in found.values()) < LEVEL / len(found) / len(CONDITIONS)


def crystals(number: int, elements: tuple[str, ...]) -> list[WyckoffRepresentation]:
    """All crystals of a group with two sites, of these elements, both of them there."""
    positions = space_group(number).positions
    return [
        WyckoffRepresentation(number, elements, (a.letter, b.letter))
        for a in positions
        for b in positions
        if a.dof or a is not b
    ]


def test_frequencies_are_the_exact_probabilities(model):
    """Of two sites in a group, and whichever element came first."""
    known = crystals(225, ("Na", "Cl"))
    log = set_log_p(model, encode(known, model.elements), True, 1)[1]
    asked = {"elements": ["Na", "Cl"], "required": ["Na", "Cl"], "sites": (2, 2)}
    frame = sample(model, 3000, seed=1, space_groups=[225], **asked)
    counts = Counter(r.fingerprint() for r in from_table(frame))
    expected = Counter()
    for crystal, p in zip(known, log.softmax(0).tolist(), strict=True):
        expected[crystal.fingerprint()] += p
    assert chi2(counts, expected, 3000) < 2
    even = Counter(dict.fromkeys(expected, 1 / len(expected)))
    assert chi2(counts, even, 3000) > 4


def chi2(counts: Counter, expected: Counter, n: int) -> float:
    """χ² per degree of freedom, over what is not too rare."""
    common = [name for name, p in expected.items() if n * p > 8]
    rest = 1 - sum(expected[name] for name in common)
    parts = [((counts[name] - n * expected[name]) ** 2, n * expected[name]) for name in common]
    others = n - sum(counts[name] for name in common)
    parts.append(((others - n * rest) ** 2, max(n * rest, 1)))
    return sum(square / mean for square, mean in parts) / len(common)


def test_completions_have_their_exact_probabilities(model):
    """A given site may have come first or last: completions of one more site, and STOP."""
    part = WyckoffRepresentation(225, ("Na",), ("a",))
    known = [part] + [
        WyckoffRepresentation(225, ("Na", element), ("a", position.letter))
        for position in space_group(225).positions
        for element in ("Na", "Cl")
        if position.letter != "a"
    ]
    log = set_log_p(model, encode(known, model.elements), True, 1)[1]
    asked = {"elements": ["Na", "Cl"], "sites": (1, 2)}
    frame = sample(model, 3000, seed=1, given=to_table([part]), **asked)
    counts = Counter(r.fingerprint() for r in from_table(frame))
    expected = Counter()
    for crystal, p in zip(known, log.softmax(0).tolist(), strict=True):
        expected[crystal.fingerprint()] += p
    assert chi2(counts, expected, 3000) < 2


def test_rows_are_completed_each_for_itself(model):
    parts = [WyckoffRepresentation(225, ("Na",), ("a",)), WyckoffRepresentation(62, (), ())]
    starts = from_representations(model, to_table(parts))
    generator = torch.Generator().manual_seed(1)
    counts = torch.tensor([7, 5])
    group, elements, _ = particles.draw(
        model,
        starts,
        torch.ones(2),
        torch.arange(2),
        counts,
        1.0,
        Conditions.of(model, required=["Cl"]),
        generator,
    )
    assert group.tolist() == 7 * [225] + 5 * [62]
    assert (elements == model.elements.index("Cl")).any(1).all()


def test_systematic_choice_follows_weights():
    generator = torch.Generator().manual_seed(1)
    weights = torch.tensor([0.1, 0.2, 0.7, 0.5, 0.5], dtype=torch.double)
    stratum = torch.tensor([0, 0, 0, 1, 1])
    chosen = systematic(weights.log(), stratum, torch.tensor([100, 3]), generator)
    counts = torch.bincount(chosen, minlength=5)
    assert (counts[:3] - torch.tensor([10, 20, 70])).abs().max() <= 1
    assert counts[3:].sum() == 3
    assert counts[3:].min() >= 1
