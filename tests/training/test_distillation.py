"""Lessons of an ensemble: as real crystals are in kind, and what learning from them is good for."""

import pandas as pd
import pytest
import torch
from conftest import fit

from wyk.files import datasets
from wyk.likelihood.sequences import likelihood
from wyk.model import checkpoint
from wyk.sampling.samples import sample
from wyk.training import distillation
from wyk.training.distillation import kinds, lessons, weights


def shares(frame, weight=None):
    """Of every kind, the weighted share of structures, for each of the two ways to sort them."""
    weight = torch.ones(len(frame)) if weight is None else weight
    return [torch.bincount(k, weight, 500) / weight.sum() for k in kinds(frame)]


def difference(ours, theirs) -> float:
    return max(float((a - b).abs().max()) for a, b in zip(ours, theirs, strict=True))


def test_weighted_samples_have_the_kinds_of_the_data(model):
    data = datasets.load("aflow:train")
    data = data[data["elements"].map(lambda sites: 2 <= len(sites) <= 4)]
    samples = sample(model, 4000, seed=1)
    weight = weights(samples, data)
    assert weight.mean() == pytest.approx(1)
    assert difference(shares(samples, weight), shares(data)) < 0.01
    assert difference(shares(samples), shares(data)) > 0.1  # without weights they do not
    absent = ~torch.isin(kinds(samples)[0], kinds(data)[0])
    assert absent.any()
    assert (weight[absent] == 0).all()


def test_kinds_by_hand():
    table = pd.DataFrame(
        {
            "elements": [["Na", "Cl"], ["Na", "Cl"], ["Mg", "Mg", "Al"]],
            "multiplicities": [[4, 4], [4, 8], [2, 2, 4]],
        }
    )
    sites, sort = kinds(table)
    assert sites.tolist() == [2, 2, 3]
    assert sort.tolist() == [3 * 2 + 1, 3 * 2 + 0, 3 * 2 + 2]


def test_lessons_do_not_depend_on_the_processes(folder, monkeypatch):
    monkeypatch.setattr(distillation, "SHARD", 300)
    data = datasets.load("aflow:train")
    one, two = (lessons(folder, data, 700, seed=3, jobs=jobs) for jobs in (1, 2))
    pd.testing.assert_frame_equal(one, two)
    assert 0 < len(one) < 700


def test_pupils_agree_with_themselves(folder, model, tmp_path):
    """What a model says of a crystal depends less on the order of the sites once it has learned from samples."""
    settings = {"epochs": 6, "lr": 0.004, "architecture": {"dropout": 0.0}, "substitute": 0.0}
    drawn = sample(model, 3000, seed=5)
    fit(tmp_path / "pupil", lessons=drawn, start=model.state_dict(), **settings)
    fit(tmp_path / "other", start=model.state_dict(), **settings)  # as long, on real crystals alone
    test = datasets.load("aflow:test")
    before, after, other = (
        likelihood(m, test, 10)["log_p_std"].mean()
        for m in (model, *(checkpoint.load(tmp_path / name) for name in ("pupil", "other")))
    )
    assert after < 0.9 * before
    assert other > before
