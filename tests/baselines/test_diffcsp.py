"""DiffCSP without symmetry: what it learns from, that it learns, and what it makes."""

import json
from collections import Counter

import numpy as np
import pandas as pd
import pytest
import torch
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Structure

from wyk.baselines import diffcsp
from wyk.common import weights
from wyk.coordinates import diffusion, diffusion_training
from wyk.coordinates.frames import of_structure
from wyk.files import datasets
from wyk.metrics import evaluation
from wyk.plumbing.params import Diffusion

SETTINGS = Diffusion(d=16, layers=2, epochs=2, batch=16, lr=0.003)
N = 6


@pytest.fixture(scope="module")
def real() -> list[Structure]:
    return [crystal for _, crystal in datasets.structures("aflow:val")[0] if len(crystal) < 9]


@pytest.fixture(scope="module")
def crystals(real):
    return [diffcsp.alone(*of_structure(crystal)) for crystal in real]


def untrained(crystals, **changes) -> diffcsp.Network:
    torch.manual_seed(1)
    return diffcsp.untrained(SETTINGS.model_copy(update=changes), crystals)


def fit(model, crystals, folder, jobs=1):
    functions = {"lesson": diffcsp.lesson, "loss": diffcsp.loss}
    diffusion_training.fit(model, crystals, folder, {"seed": 1}, jobs, **functions)


@pytest.fixture(scope="module")
def trained(crystals, tmp_path_factory):
    folder = tmp_path_factory.mktemp("diffcsp")
    fit(untrained(crystals), crystals, folder)
    return folder


# --- crystals without symmetry


def test_niggli_cells_are_the_same_crystals(real, crystals):
    matcher, control = StructureMatcher(primitive_cell=False, scale=False), 0
    for crystal, (frame, fractional, k) in zip(real[:20], crystals, strict=False):
        assert (frame.dof == 3).all()
        cell = frame.at(fractional, k)
        found = Structure(cell.lattice, cell.numbers, fractional)
        assert matcher.fit(found, crystal.get_primitive_structure(0.1))
        control += matcher.fit(found, real[0])
    assert control < 20  # a matcher that says yes to all would have said it here


# --- noise


def test_elements_are_lost_with_the_noise_and_nothing_else_of_the_graph(crystals):
    model = untrained(crystals)
    unknown, shares = model.index[diffcsp.UNKNOWN], {}
    for seed in range(300):
        lesson = diffcsp.lesson(model, *crystals[seed % 30], [seed])
        lost = lesson.graph.element == unknown
        assert (lesson.graph.element == lesson.element)[~lost].all()
        assert (lesson.element != unknown).all()
        strong = diffcsp.hidden(lesson.graph.noise.exp().item()) > 0.5
        shares.setdefault(strong, []).append(lost.float().mean().item())
    assert np.mean(shares[False]) == pytest.approx(0.25, abs=0.06)
    assert np.mean(shares[True]) == pytest.approx(0.75, abs=0.06)


def test_all_is_hidden_at_the_most_noise_and_nothing_at_the_least():
    least, most = diffusion.SIGMA
    assert [diffcsp.hidden(x) for x in (0.0, least, most)] == [0, 0, 1]
    assert diffcsp.hidden((least * most) ** 0.5) == pytest.approx(0.5)


def test_what_is_hidden_cannot_be_seen(crystals):
    """Two crystals that differ in their elements alone are the same to the network while these are unknown."""
    model = untrained(crystals)
    frame, fractional, k = next(c for c in crystals if len(set(c[0].crystal.numbers)) > 1)
    other = diffcsp._with(frame, np.full(len(fractional), frame.crystal.numbers[0]))
    graphs = []
    for one in (frame, other):
        hidden = diffcsp._unknown(one)
        graphs.append(diffusion.lesson(model, hidden, fractional, k, [1]).graph)
    assert all(torch.equal(a, b) for a, b in zip(*map(vars_of, graphs), strict=True))
    graphs = [diffusion.lesson(model, one, fractional, k, [1]).graph for one in (frame, other)]
    assert not all(torch.equal(a, b) for a, b in zip(*map(vars_of, graphs), strict=True))


def vars_of(graph):
    return vars(graph).values()


# --- training


def test_it_learns_the_crystals_it_sees(crystals, tmp_path):
    few = crystals[:12]
    fit(untrained(few, epochs=80, lr=0.01), few, tmp_path)
    log = pd.read_csv(tmp_path / "log.csv")["loss"]
    assert log.iloc[-10:].mean() < 0.9 * log.iloc[:10].mean()  # 0.81; by chance 1 ± 0.02


def test_a_killed_training_goes_on_to_the_same_bytes(trained, crystals, tmp_path, monkeypatch):
    save_state = weights.save_state

    def interrupted(*arguments):
        save_state(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(weights, "save_state", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fit(untrained(crystals), crystals, tmp_path)
    fit(untrained(crystals), crystals, tmp_path, jobs=2)
    for name in (weights.WEIGHTS, weights.CONFIG, "log.csv"):
        assert (tmp_path / name).read_bytes() == (trained / name).read_bytes()


# --- crystals


def test_sizes_are_as_asked_and_all_elements_known(trained, crystals):
    model, sizes = diffcsp.load(trained), [1, 4, 7]
    drawn = diffcsp.draw(model, sizes, [[i] for i in range(3)])
    assert [len(crystal) for crystal in drawn] == sizes
    assert {str(e) for crystal in drawn for e in crystal.elements} <= set(model.elements)


def test_elements_come_as_often_as_the_network_says(trained, crystals):
    """Of a network that always says the same, whatever it sees."""
    model = untrained(crystals).eval()
    with torch.no_grad():
        model.kind[-1].weight.zero_()
        model.kind[-1].bias[:] = -20
        model.kind[-1].bias[0], model.kind[-1].bias[1] = np.log(0.8), np.log(0.2)
    drawn = diffcsp.draw(model, [8] * 30, [[i] for i in range(30)], steps=4)
    counts = Counter(site.specie.symbol for crystal in drawn for site in crystal)
    assert set(counts) == set(model.elements[:2])
    assert counts[model.elements[0]] / counts.total() == pytest.approx(0.8, abs=0.08)


def test_the_same_seed_gives_the_same_crystals_and_evaluate_reads_them(trained, tmp_path):
    one, again, other = (diffcsp.generate(trained, [2, 3], N, seed) for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(one, again)
    assert not (one["cif"] == other["cif"]).any()
    one.loc[1, ["cif", "reason"]] = [None, "the diffusion gave NaN"]
    one.attrs = {"model": "a small one"}
    one.to_parquet(tmp_path / "crystals.parquet", index=False)
    result = evaluation.evaluate(
        str(tmp_path / "crystals.parquet"), "aflow:test", tmp_path / "metrics.json", relax=True
    )
    assert result["provenance"]["generator"] == {"model": "a small one"}
    assert result["raw"]["formal_validity"]["denominator"] == N
    assert result["raw"]["formal_validity"]["numerator"] < N
    assert result["relaxed"]["stable"]["denominator"] == N
    json.loads((tmp_path / "metrics.json").read_text())


def test_nan_is_a_reason_and_no_crystal(crystals, tmp_path):
    model = untrained(crystals)
    with torch.no_grad():
        model.element.weight[model.index[diffcsp.UNKNOWN]] = torch.nan
    weights.save(tmp_path, [model], {})
    table = diffcsp.generate(tmp_path, [2, 3], 3, seed=0)
    assert table["cif"].isna().all()
    assert table["reason"].str.contains("NaN or infinite weights").all()
