"""Trials: their settings, a killed run, and the likelihood of a set against the sum over all orders."""

import itertools
import math
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
import yaml

from wyk.crystals.descriptors import VOCABULARY
from wyk.crystals.representation import WyckoffRepresentation
from wyk.crystals.tables import to_table, write_representations
from wyk.likelihood import sets
from wyk.likelihood.sets import log_orders, set_log_p
from wyk.model.tokenization import encode
from wyk.model.transformer import WyckoffTransformer
from wyk.plumbing import params
from wyk.plumbing.paths import PARAMS, ROOT
from wyk.studies import trials

# --- settings


def own(experiment: params.Experiment) -> params.Experiment:
    return experiment.changed({"train.refit": False, "train.members": 1, "train.distil": None})


@pytest.mark.parametrize("name", params.load().experiments)
def test_the_ablation_ends_with_the_own_settings(name):
    experiment = params.experiment(name)
    steps = [s for group, _, s in experiment.trial_settings() if group == "ablation"]
    assert steps[-1] == own(experiment)
    assert len(steps) >= 8
    for before, after in itertools.pairwise([own(experiment), *steps]):
        assert before != after  # each changes something, the paper's recipe most of all


@pytest.mark.parametrize("name", params.load().experiments)
def test_search_and_invariance_start_from_the_own_settings(name):
    experiment = params.experiment(name)
    for group, trial, settings in experiment.trial_settings():
        if group != "ablation":
            assert settings == own(experiment).changed(trial.changes)
        assert not settings.train.refit
        assert settings.train.members == 1


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ("{train.epoch: 3}", "train.epoch: unknown key"),
        ("{epochs: 3}", "epochs: unknown key"),
        ("{sample.n: 3}", "sample.n: unknown key"),
        ('{train.epochs: "3"}', r"epochs: Input should be a valid integer.*got '3'"),
        ("{train.epochs: 0}", "epochs: Input should be greater than 0"),
        ("{model.attention: both}", "attention: Input should be 'set' or 'causal'"),
    ],
)
def test_a_change_that_cannot_be_made_is_named(tmp_path, changes, reason):
    text = PARAMS.read_text()
    old = "name: our settings, changes: {}"
    path = tmp_path / "params.yaml"
    path.write_text(text.replace(old, f"name: our settings, changes: {changes}", 1))
    complaint = rf"params\.yaml: experiments\.quick: trials\.search, our settings: .*{reason}"
    with pytest.raises(ValueError, match=complaint):
        params.load(path)


def test_two_trials_of_one_name(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text(PARAMS.read_text().replace("name: mini-batches", "name: descriptors", 1))
    with pytest.raises(ValueError, match=r"trials\.ablation, descriptors: there are two"):
        params.load(path)


# --- the likelihood of a set

CRYSTALS = [
    WyckoffRepresentation(225, ("Na",), ("a",)),
    WyckoffRepresentation(225, ("Na", "Cl"), ("a", "b")),
    WyckoffRepresentation(2, ("O", "O", "O", "O"), ("i", "i", "i", "i")),
    WyckoffRepresentation(1, ("Na", "Cl", "Na", "Na", "O"), ("a", "a", "a", "a", "a")),
    WyckoffRepresentation(2, ("Ti", "O", "O", "Ba", "Ti"), ("a", "i", "i", "b", "i")),
    WyckoffRepresentation(62, ("Ca", "Ti", "O", "O", "Fe"), ("c", "b", "c", "d", "a")),
]
DISTINCT = (1, 2, 1, 20, 60, 120)  # n! over the factorials of how often each site comes


def model(attention: str) -> WyckoffTransformer:
    torch.manual_seed(1)
    small = {"d": 16, "heads": 2, "dropout": 0.0, "attention": attention}
    settings = params.experiment("quick").model.model_copy(update=small)
    net = WyckoffTransformer(settings, VOCABULARY)
    with torch.no_grad():
        for tensor in net.parameters():
            tensor += 0.05 * torch.randn_like(tensor)  # so that the order does matter
    return net.eval()


@torch.no_grad()
def log_p_of_orders(net, data, row: int, orders: torch.Tensor) -> torch.Tensor:
    """Formula (2) as it is written, one question after another, for orders (k, sites) of a crystal; (k,)."""
    k, sites = orders.shape
    each, total = torch.arange(k), torch.zeros(k)
    elements, positions = data.elements[row][orders], data.positions[row][orders]
    for known in range(sites + 1):
        nothing = torch.full((k, 1), -1)
        context = net.encode(
            data.space_group[row].expand(k),
            torch.cat([elements[:, :known], nothing], 1),
            torch.cat([positions[:, :known], nothing], 1),
        )
        of_element = net.element_logits(context).log_softmax(1)
        if known == sites:
            return total + of_element[:, -1]
        element, position = elements[:, known], positions[:, known]
        symmetry, enumeration = net.symmetry[position], net.enumeration[position]
        total += of_element[each, element]
        of_symmetry = net.symmetry_logits(context, each, element)
        total += of_symmetry.log_softmax(1)[each, symmetry]
        of_enumeration = net.enumeration_logits(context, each, element, symmetry)
        total += of_enumeration.log_softmax(1)[each, enumeration]


@pytest.fixture(scope="module", params=["set", "causal"])
def summed(request):
    """A model, its data, and for each crystal log p of every distinct order."""
    net, data = model(request.param), encode(CRYSTALS, VOCABULARY)
    every = []
    for row, crystal in enumerate(CRYSTALS):
        sites = list(zip(crystal.elements, crystal.letters, strict=True))
        orders = {}
        for order in itertools.permutations(range(len(sites))):
            orders.setdefault(tuple(sites[i] for i in order), order)
        every.append(log_p_of_orders(net, data, row, torch.tensor(list(orders.values()))))
    return net, data, every


def test_like_sites_are_counted_once():
    assert log_orders(encode(CRYSTALS, VOCABULARY)).exp().round().tolist() == list(DISTINCT)


def test_the_set_is_the_sum_over_its_orders(summed):
    net, data, every = summed
    assert [len(log) for log in every] == list(DISTINCT)
    canonical, estimate, exact = set_log_p(net, data, True, seed=0)
    assert exact.tolist() == [n <= sets.ORDERS for n in DISTINCT]
    for row, log in enumerate(every):
        truth = log.logsumexp(0).item()
        assert (log - canonical[row]).abs().min() < 1e-4  # it is one of the orders
        if exact[row]:
            assert estimate[row].item() == pytest.approx(truth, abs=1e-4)
        else:
            assert estimate[row].item() != pytest.approx(truth, abs=1e-4)


def test_all_orders_make_it_exact(summed, monkeypatch):
    net, data, every = summed
    monkeypatch.setattr(sets, "ORDERS", max(DISTINCT))
    _, estimate, exact = set_log_p(net, data, True, seed=0)
    assert exact.all()
    for row, log in enumerate(every):
        assert estimate[row].item() == pytest.approx(log.logsumexp(0).item(), abs=1e-4)


def test_the_estimate_is_unbiased_and_its_logarithm_below(summed, monkeypatch):
    net, data, every = summed
    monkeypatch.setattr(sets, "ORDERS", 4)
    seeds = torch.stack([set_log_p(net, data, True, seed)[1] for seed in range(40)], 1)
    for row, log in enumerate(every):
        truth = log.double().logsumexp(0)
        ratio = (seeds[row] - truth).exp()
        error = ratio.std() / 40**0.5
        assert abs(ratio.mean() - 1) <= 4 * error + 1e-4
        assert (seeds[row] - truth).mean() < 1e-4


def test_bounds(summed):
    """Jensen's is below the sum. With n! instead of the distinct orders it would not be: the check sees it."""
    net, data, every = summed
    canonical, estimate, _ = set_log_p(net, data, True, seed=0)
    bounds = torch.stack([log.mean() for log in every]) + log_orders(data)
    truth = torch.stack([log.logsumexp(0) for log in every])
    assert (bounds <= truth + 1e-4).all()
    assert (canonical <= estimate + 1e-9).all()
    wrong = torch.tensor([log.mean() + math.lgamma(len(c.letters) + 1)
                          for log, c in zip(every, CRYSTALS, strict=True)])  # fmt: skip
    assert (wrong > truth + 0.1).any()


def test_the_order_matters_here(summed):
    """Else sums over orders would prove little."""
    _, _, every = summed
    assert max(log.std() for log in every[3:]) > 0.1


# --- a killed run

TINY = {
    "samples": 8,
    "permutations": 2,
    "ablation": [
        {"name": "one target", "changes": {"train.targets": "one", "train.batch": 8}},
        {"name": "ours", "changes": {"train.targets": "all", "train.batch": 64}},
    ],
    "search": [{"name": "again", "changes": {}}],
    "invariance": [
        {"name": "canonical", "changes": {"train.order": "canonical", "model.attention": "causal"}}
    ],
}


def workplace(root):
    """A copy of the package with one tiny experiment, whose representations are there."""
    shutil.copytree(ROOT / "wyk", root / "wyk", ignore=shutil.ignore_patterns("__pycache__"))
    content = yaml.safe_load(PARAMS.read_text())
    quick = content["experiments"]["quick"]
    quick["model"] |= {"d": 16, "heads": 2, "encoder_layers": 1}
    quick["train"] |= {"epochs": 12, "evaluate_every": 2, "batch": 64}
    quick["trials"] = TINY
    content["experiments"] = {"tiny": quick}
    (root / "params.yaml").write_text(yaml.safe_dump(content))
    elements = ("Na", "K", "Cl", "Br", "Ti", "O", "Ca", "Fe")
    pairs = list(itertools.permutations(elements, 2))
    crystals = [WyckoffRepresentation(225, pair, ("a", "b")) for pair in pairs]
    crystals += [WyckoffRepresentation(62, (a, b, b), ("a", "c", "c")) for a, b in pairs]
    for split, part in (
        ("train", crystals[::2]),
        ("val", crystals[1::4]),
        ("test", crystals[3::4]),
    ):
        write_representations(root / f"runs/tiny/represent/{split}.parquet", to_table(part))
    return root


def start(root, jobs: int) -> subprocess.Popen:
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "wyk.cli.main",
            "trials",
            "--experiment",
            "tiny",
            "--jobs",
            str(jobs),
        ],
        cwd=root,
        env=os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(root, jobs: int) -> dict[str, bytes]:
    process = start(root, jobs)
    complaints = process.communicate(timeout=300)[1]
    assert process.returncode == 0, complaints
    figures = root / "figures/tiny"
    assert (figures / "trials_seconds.csv").is_file()
    return {name: (figures / name).read_bytes() for name in ("trials.csv", "trials_log.csv")}


def test_a_killed_run_goes_on_and_ends_the_same(tmp_path):
    whole, killed = (workplace(tmp_path / name) for name in ("whole", "killed"))
    expected = finish(whole, jobs=2)
    assert expected["trials.csv"].count(b"\n") == 1 + 4  # and one model was trained for two rows
    assert len(list((whole / "runs/tiny/trials").iterdir())) == 3

    folder = killed / "runs/tiny/trials"
    process = start(killed, jobs=1)
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline:  # until one is finished, and another one is being trained
        done = {path.parent for path in folder.glob("*/result.json")}
        if done and {path.parent for path in folder.glob("*/state.safetensors")} - done:
            break
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert done
    assert not (killed / "figures").exists()
    assert len(list(folder.glob("*/result.json"))) < 3
    times = {path: path.stat().st_mtime_ns for path in folder.glob("*/result.json")}

    assert finish(killed, jobs=1) == expected
    assert {path: path.stat().st_mtime_ns for path in times} == times  # not repeated


def test_a_result_of_other_settings_or_code_is_no_result(tmp_path):
    identity = {"seed": 1, "code_sha256": "a"}
    (tmp_path / "identity.json").write_text('{"seed": 1, "code_sha256": "a"}')
    (tmp_path / "result.json").write_text('{"identity": {"seed": 1, "code_sha256": "a"}}')
    assert trials.finished(tmp_path, identity)
    (tmp_path / "result.json").write_text('{"identity": {"seed": 1, "code_sha256": "b"}}')
    assert not trials.finished(tmp_path, identity)  # of another run in this folder
    assert tmp_path.is_dir()
    assert not trials.finished(tmp_path, identity | {"seed": 2})
    assert not tmp_path.exists()  # nor is its model trained any further
