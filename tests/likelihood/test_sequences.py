"""Likelihoods: each context encoded once, against every step of every order by itself; temperature and masks."""

import numpy as np
import pandas as pd
import pytest
import torch

from wyk.crystals.representation import WyckoffRepresentation
from wyk.crystals.tables import from_table, to_table
from wyk.files import datasets
from wyk.likelihood import sequences as likelihoods
from wyk.likelihood.sequences import likelihood, log_p
from wyk.model.ensemble import Ensemble
from wyk.model.tokenization import encode
from wyk.model.transformer import WyckoffTransformer, most_sites
from wyk.sampling.samples import sample

LONG = WyckoffRepresentation(1, 66 * ("O",) + 4 * ("Ti",), 70 * ("a",))  # no 64-bit mask holds it


@torch.no_grad()
def step_by_step(model, data, order, formal_masks=True, temperature=1.0):
    """log p and expected −log p (n, k), each step of each order a batch of one, nothing shared, nothing left out."""
    result = torch.zeros(2, *order.shape[:2], dtype=torch.float64)
    for i, k in np.ndindex(*order.shape[:2]):
        sites = order[i, k, : data.length[i]].argsort()
        elements, positions = data.elements[i, sites], data.positions[i, sites]
        for known in range(len(sites) + 1):
            there = [
                torch.cat([x[:known], x.new_full((1,), -1)])[None] for x in (elements, positions)
            ]
            context = model.encode(data.space_group[i, None], *there)
            logits = [model.element_logits(context, formal_masks)]
            chosen = [len(model.elements)]
            if known < len(sites):
                row, element = torch.tensor([0]), elements[known, None]
                symmetry = model.symmetry[positions[known, None]]
                enumeration = model.enumeration[positions[known, None]]
                question = (context, row, element)
                logits += [
                    model.symmetry_logits(*question, formal_masks),
                    model.enumeration_logits(*question, symmetry, formal_masks),
                ]
                chosen = [element.item(), symmetry.item(), enumeration.item()]
            for values, choice in zip(logits, chosen, strict=True):
                values = (values[0].double() / temperature).log_softmax(-1)
                result[0, i, k] += values[choice]
                result[1, i, k] -= sum(v * np.exp(v) for v in values.tolist() if np.isfinite(v))
    return result


@pytest.fixture(scope="module")
def crystals(model):
    rows = from_table(datasets.load("aflow:test"))
    rows = [r for r in rows if len(r.letters) > 1][:10] + rows[
        :4
    ]  # some twice: they share contexts
    twice = WyckoffRepresentation(62, ("O", "O", "O", "Ti"), ("c", "c", "c", "a"))
    return encode([*rows, twice, LONG], model.elements)


@pytest.fixture(scope="module")
def order(crystals):
    given = torch.arange(crystals.elements.shape[1]).expand_as(crystals.elements).float()
    generator = torch.Generator().manual_seed(0)
    return torch.stack([given, torch.rand(given.shape, generator=generator)], 1)


@pytest.mark.parametrize(
    ("formal_masks", "temperature"), [(True, 1.0), (False, 1.0), (True, 0.3), (False, 3.0)]
)
def test_every_context_once_is_every_step_by_itself(
    model, crystals, order, formal_masks, temperature
):
    got = torch.stack(log_p(model, crystals, order, formal_masks, temperature))
    expected = step_by_step(model, crystals, order, formal_masks, temperature)
    assert torch.allclose(got, expected, rtol=1e-5, atol=1e-4)


def test_that_check_sees_contexts_taken_for_one_another(model, crystals, order, monkeypatch):
    names = likelihoods._names

    def without_positions(space_group, elements, positions, ordered):
        return names(space_group, elements, positions.clamp(max=0), ordered)

    def without_group(space_group, elements, positions, ordered):
        return names(torch.ones_like(space_group), elements, positions, ordered)

    expected, _ = log_p(model, crystals, order)
    for wrong in (without_positions, without_group):
        monkeypatch.setattr(likelihoods, "_names", wrong)
        got, _ = log_p(model, crystals, order)
        assert (got - expected).abs().max() > 0.01


def test_a_network_that_sees_the_order_is_asked_in_every_order(model, crystals, order):
    settings = model.settings.model_copy(update={"attention": "causal"})
    torch.manual_seed(0)
    causal = WyckoffTransformer(settings, model.elements).eval()
    got, expected = log_p(causal, crystals, order)[0], step_by_step(causal, crystals, order)[0]
    assert torch.allclose(got, expected, rtol=1e-5, atol=1e-4)
    mistaken = Ensemble([causal])
    mistaken.settings = model.settings  # it would not see the order
    assert (log_p(mistaken, crystals, order)[0] - expected).abs().max() > 0.01


def test_an_ensemble_is_asked_like_a_model(model, crystals, order):
    torch.manual_seed(0)
    other = WyckoffTransformer(model.settings, model.elements).eval()
    both = Ensemble([model, other])
    got, expected = torch.stack(log_p(both, crystals, order)), step_by_step(both, crystals, order)
    assert torch.allclose(got, expected, rtol=1e-5, atol=1e-4)


def test_pieces_of_the_work_change_nothing(model, crystals, order, monkeypatch):
    expected = torch.stack(log_p(model, crystals, order))
    monkeypatch.setattr(likelihoods, "STEPS", 50)
    monkeypatch.setattr(likelihoods, "TOKENS", 30)
    assert torch.allclose(torch.stack(log_p(model, crystals, order)), expected, atol=1e-4)


def test_only_what_is_open_is_asked(model, monkeypatch):
    """In group 1 there is one site symmetry with one enumeration: p = 1, unless the model has to find out."""
    data = encode([LONG], model.elements)
    order = torch.arange(70.0)[None, None]
    asked = []

    def counted(question):
        def ask(*arguments):
            asked.append(len(arguments[1]))
            return question(*arguments)

        return ask

    for name in ("symmetry_logits", "enumeration_logits"):
        monkeypatch.setattr(model, name, counted(getattr(model, name)))
    masked, _ = log_p(model, data, order)
    assert sum(asked) == 0
    unmasked, _ = log_p(model, data, order, formal_masks=False)
    assert sum(asked) == 2 * 70  # questions: after 0, 1 … 69 known sites
    assert unmasked < masked - 1


def test_log_p_is_what_the_sampler_draws(model):
    """Sequences come as often as log p at their temperature says, and not as it says at another."""
    n, temperature = 20_000, 0.5
    rows = from_table(sample(model, n, temperature=temperature, seed=4, space_groups=[225]))
    common = pd.Series(rows).value_counts().head(30)
    data = encode(list(common.index), model.elements)
    given = torch.arange(data.elements.shape[1]).expand_as(data.elements).float()[:, None]

    def chi2(temperature):
        p = log_p(model, data, given, temperature=temperature)[0][:, 0].exp().numpy()
        return ((common - n * p) ** 2 / (n * p * (1 - p))).sum()

    assert chi2(temperature) < 75  # 30 on average; more than 75 once in 100,000 times
    assert chi2(0.6) > 1000


def difference(log, expected):
    """How many standard errors lie between E[−log p] and what the model expected it to be."""
    values = np.asarray(-log - expected)
    return abs(values.mean()) / values.std() * len(values) ** 0.5


def test_entropy_of_own_samples_is_what_the_model_expects(model):
    """−log p of samples, and the entropies met on the way, have the same mean H; not so at another temperature."""
    frame = sample(model, 1500, temperature=0.7, seed=1)
    own, other = (likelihood(model, frame, 1, temperature=t) for t in (0.7, 1.0))
    assert difference(own["log_p"], own["expected"]) < 4
    assert difference(other["log_p"], other["expected"]) > 10


def test_what_the_sampler_cuts_off_needs_no_stop(model):
    frame = sample(model, 100, temperature=100.0, seed=2)
    most = most_sites(model)
    assert (frame["elements"].map(len) == most).mean() > 0.1
    table = likelihood(model, frame, 1, temperature=100.0)
    assert difference(table["log_p"], table["expected"]) < 4
    data = encode(from_table(frame), model.elements)
    order = torch.arange(most).expand(len(data), 1, most).float()
    endless, _ = log_p(model, data, order, temperature=100.0)
    assert difference(endless[:, 0].numpy(), table["expected"]) > 10


def test_likelihood_table(model):
    frame = datasets.load("aflow:test")
    odd = to_table(
        [
            WyckoffRepresentation(225, ("Na", "Na"), ("a", "a")),
            WyckoffRepresentation(1, ("Rf",), ("a",)),
        ],
        ["fixed", "rutherfordium"],
    )
    table = likelihood(model, pd.concat([frame, odd]), permutations=3)
    assert table["material_id"].tolist()[-2:] == ["fixed", "rutherfordium"]
    assert table["reason"].isna().sum() == len(frame)
    assert "4a" in table["reason"].iloc[-2]
    assert "Rf" in table["reason"].iloc[-1]
    good = table[table["reason"].isna()]
    numbers = ["log_p", "log_p_mean", "log_p_std", "expected", "expected_mean"]
    assert np.isfinite(good[numbers]).all(axis=None)
    lone = good[good["n_sites"] == 1]
    assert np.allclose(lone["log_p"], lone["log_p_mean"])
    assert (lone["log_p_std"] < 1e-6).all()
    assert good[good["n_sites"] > 2]["log_p_std"].median() > 0.01
    nothing = likelihood(model, odd, permutations=2)
    assert nothing["log_p"].isna().all()


def test_masks_only_add(model):
    """What a group forbids has no share of the probability, so no crystal loses by the masks."""
    frame = datasets.load("aflow:test")
    with_masks, without = (
        likelihood(model, frame, permutations=2, formal_masks=masks) for masks in (True, False)
    )
    assert (with_masks["log_p"] > without["log_p"]).all()


def test_a_temperature_that_is_none(model):
    with pytest.raises(ValueError, match="temperature 0"):
        likelihood(model, datasets.load("aflow:test"), temperature=0.0)
