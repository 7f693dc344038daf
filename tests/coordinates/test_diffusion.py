"""The diffusion: exact symmetry, what the score is, training that resumes, draws, and what is refused."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import DIFFUSION, HEUSLER, INVALID, LOW, RUTILE, SALT, undiffused

from wyk.common import weights
from wyk.coordinates import diffusion, diffusion_training
from wyk.coordinates.denoiser import Denoiser, Graph
from wyk.coordinates.frames import FREE, Frame, empty
from wyk.crystals.representation import WyckoffRepresentation, from_structure
from wyk.model import checkpoint
from wyk.plumbing import paths
from wyk.relaxation.descent import loosened
from wyk.relaxation.symmetric_crystal import Crystal, without_symmetry

CORUNDUM = WyckoffRepresentation(167, ("Al", "O"), ("c", "e"))
QUARTZ = WyckoffRepresentation(154, ("Ti", "O"), ("a", "c"))


def network(framed, seed=0) -> Denoiser:
    torch.manual_seed(seed)
    model = Denoiser(DIFFUSION, ("O", "Al", "Ti", "Na", "Cl", "Tm", "Mg", "Hg", "Li", "S"))
    shapes = diffusion.shapes([(frame, k) for frame, _, k in framed])
    model.mean, model.std = (torch.tensor(x, dtype=torch.float32) for x in shapes)
    return model.eval()


# --- symmetry


def scene(model, frame, seed=0) -> tuple[Graph, Crystal]:
    """A noisy crystal, and as the network sees it."""
    rng = np.random.default_rng(seed)
    y = 0.3 * rng.standard_normal(FREE[frame.family])
    moves = frame.spread(rng.normal(0, 0.05, (len(frame.dof), 3)))
    fractional = (frame.crystal.positions + moves) @ np.linalg.inv(frame.crystal.lattice)
    crystal = frame.at(fractional, diffusion.usual_lattice(frame) + 0.1 * y)
    return diffusion.graph(model, frame, crystal, y, 0.3), crystal


def whole(model, frame, crystal: Crystal, graph: Graph) -> Graph:
    """The same crystal as a graph of all its atoms and bonds."""
    alone = Frame(1, without_symmetry(frame.crystal))
    every = diffusion.graph(model, alone, without_symmetry(crystal), np.zeros(6), 0.3)
    given = {"group": graph.group, "lattice": graph.lattice, "dof": graph.dof[crystal.orbits]}
    return Graph(**vars(every) | given)


@pytest.mark.parametrize("representation", [CORUNDUM, RUTILE, LOW, HEUSLER, QUARTZ])
def test_orbits_move_as_all_their_atoms_would(framed, representation):
    model = network(framed)
    frame, _ = empty(representation)
    graph, crystal = scene(model, frame)
    with torch.inference_mode():
        moves, strains = model(graph)
        every, same = model(whole(model, frame, crystal, graph))
    carried = np.einsum("na,nab->nb", moves.numpy()[crystal.orbits], frame.carriers)
    assert np.abs(every.numpy() - carried).max() < 1e-3 * np.abs(carried).max() + 1e-7
    free = FREE[frame.family]
    assert np.abs((same - strains)[0, :free]).max() < 1e-3 * strains.abs().max()


def test_a_bond_counted_once_too_often_is_seen(framed):
    model = network(framed)
    frame, _ = empty(CORUNDUM)
    graph, crystal = scene(model, frame)
    wrong = Graph(**vars(graph) | {"times": graph.times + 1})
    with torch.inference_mode():
        moves, _ = model(wrong)
        every, _ = model(whole(model, frame, crystal, graph))
    carried = np.einsum("na,nab->nb", moves.numpy()[crystal.orbits], frame.carriers)
    assert np.abs(every.numpy() - carried).max() > 0.1 * np.abs(carried).max()


@pytest.mark.parametrize("representation", [CORUNDUM, RUTILE, LOW, QUARTZ, SALT])
def test_draws_have_their_representation(diffused, representation):
    model = everything_known(diffusion.load(diffused))
    for drawn in diffusion.draw(model, representation, [[0, 1], [0, 2]]):
        apart = loosened(drawn)  # what little this network has learned lets atoms clash
        assert from_structure(apart).fingerprint() == representation.fingerprint()


# --- noise


def test_the_score_is_the_gradient_of_a_wrapped_normal():
    """On a line with a mirror at both ends: the images of an atom at x are at ±x + whole numbers."""
    frame, _ = empty(WyckoffRepresentation(123, ("Ti",), ("g",)))  # 0, 0, z
    lattice = frame.lattice(np.array([np.log(27) / 3**0.5, 0.0]))
    start = frame.crystal.positions @ np.linalg.inv(frame.crystal.lattice)
    rng, sigma, step = np.random.default_rng(0), 0.8, 1e-4

    def log_p(moved):
        apart = moved[0, 2] - np.concatenate(
            [start[0, 2] + np.arange(-9, 9), -start[0, 2] + np.arange(-9, 9)]
        )
        return np.log(np.exp(-((apart * lattice[2, 2]) ** 2) / (2 * sigma**2)).sum())

    for z in rng.random(5):
        moved = start + frame.spread(np.array([[0, 0, z]])) @ np.linalg.inv(frame.crystal.lattice)
        up, down = (moved + frame.spread(np.array([[0, 0, d]])) for d in (step, -step))
        slope = (log_p(up) - log_p(down)) / (2 * step * lattice[2, 2])
        (found,) = diffusion.score(frame, start, moved, lattice, sigma)
        assert found == pytest.approx([0, 0, sigma * slope], abs=1e-3)


def test_without_noise_the_score_leads_back():
    frame, _ = empty(CORUNDUM)
    lattice = frame.lattice(diffusion.usual_lattice(frame))
    start = frame.crystal.positions @ np.linalg.inv(frame.crystal.lattice)
    moves = frame.spread(np.full((2, 3), 0.02))
    found = diffusion.score(frame, start, start + moves @ np.linalg.inv(lattice), lattice, 0.05)
    assert found == pytest.approx(-moves[frame.crystal.representatives] / 0.05, abs=1e-6)


# --- training and what it leaves


def test_a_network_learns_the_crystals_it_sees(framed, tmp_path):
    settings = DIFFUSION.model_copy(update={"epochs": 60, "lr": 0.01})
    torch.manual_seed(1)
    model = diffusion_training.untrained(settings, framed)
    diffusion_training.fit(model, framed, tmp_path, {"seed": 1})
    log = pd.read_csv(tmp_path / "log.csv")["loss"]
    assert log.iloc[-10:].mean() < 0.8 * log.iloc[:10].mean()


def test_a_killed_training_goes_on_to_the_same_bytes(diffused, framed, tmp_path, monkeypatch):
    saves = []

    def interrupted(*arguments):
        save_state(*arguments)
        saves.append(arguments)
        if len(saves) == 1:
            raise KeyboardInterrupt

    save_state = weights.save_state
    monkeypatch.setattr(weights, "save_state", interrupted)
    with pytest.raises(KeyboardInterrupt):
        diffusion_training.fit(undiffused(framed), framed, tmp_path, {"seed": 1})
    diffusion_training.fit(undiffused(framed), framed, tmp_path, {"seed": 1}, jobs=2)
    for name in (weights.WEIGHTS, weights.CONFIG, "log.csv"):
        assert (tmp_path / name).read_bytes() == (diffused / name).read_bytes()


def test_one_run_at_a_time_trains_an_experiment(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "RUNS", tmp_path)
    with paths.alone(tmp_path / "quick/diffusion"):
        with pytest.raises(BlockingIOError, match="another run is working there"):
            diffusion_training.train("quick")


def test_the_other_model_is_refused(diffused, tmp_path):
    with pytest.raises(ValueError, match="not a config of this version"):
        checkpoint.load(diffused)
    config = json.loads((diffused / "config.json").read_text())
    config["model"]["d"] = 24
    for name in (weights.WEIGHTS, weights.CONFIG):
        (tmp_path / name).write_bytes((diffused / name).read_bytes())
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="belongs to another model"):
        diffusion.load(tmp_path)


# --- draws


def everything_known(model: Denoiser) -> Denoiser:
    """With usual cells for families that the few training crystals lack."""
    model.std[model.std.sum(dim=1) == 0] = 0.1
    return model


def test_the_same_seed_gives_the_same_crystal_beside_any_others(diffused):
    model = diffusion.load(diffused)
    one, other = diffusion.draw(model, CORUNDUM, [[3], [4]])
    (again,) = diffusion.draw(model, CORUNDUM, [[4]])
    assert again.lattice.matrix == pytest.approx(other.lattice.matrix, abs=1e-4)
    assert again.frac_coords == pytest.approx(other.frac_coords, abs=1e-4)
    assert one.lattice.matrix != pytest.approx(other.lattice.matrix, abs=1e-4)


def test_a_draw_is_the_candidate_that_the_network_would_strain_the_least(diffused, monkeypatch):
    model, denoise, seen = diffusion.load(diffused), diffusion.denoise, []

    def remembered(*arguments):
        seen.append(denoise(*arguments))
        return seen[-1]

    monkeypatch.setattr(diffusion, "denoise", remembered)
    drawn = diffusion.draw(model, CORUNDUM, [[3], [4]])
    strains = np.reshape([strain for _, strain in seen[0]], (2, diffusion.CANDIDATES))
    assert (np.ptp(strains, axis=1) > 0).all()
    for i, row in enumerate(strains):
        best = seen[0][i * diffusion.CANDIDATES + row.argmin()][0]
        assert drawn[i] == best != seen[0][i * diffusion.CANDIDATES + row.argmax()][0]


def test_without_heat_only_the_start_is_random(diffused):
    model = diffusion.load(diffused)
    frame, _ = empty(CORUNDUM)
    start = frame.crystal.positions @ np.linalg.inv(frame.crystal.lattice)

    def ends(heat: float) -> list[np.ndarray]:
        rngs = [BeginsAs(0, later) for later in (1, 2)]
        made = diffusion.denoise(model, [frame] * 2, [start] * 2, rngs, 5, heat)
        return [crystal.lattice.matrix for crystal, _ in made]

    one, other = ends(0.0)
    assert one == pytest.approx(other, abs=1e-4)
    one, other = ends(1.0)
    assert one != pytest.approx(other, abs=1e-4)


class BeginsAs:
    """Random numbers of one seed the first time, and of another one later."""

    def __init__(self, first: int, later: int):
        self.first, self.later = np.random.default_rng(first), np.random.default_rng(later)

    def standard_normal(self, shape) -> np.ndarray:
        rng, self.first = self.first, self.later
        return rng.standard_normal(shape)


def test_what_was_not_learned_is_named(diffused):
    model = diffusion.load(diffused)
    missing = next(e for e in ("Kr", "Og") if e not in model.elements)
    with pytest.raises(ValueError, match=f"has not learned {missing}"):
        diffusion.draw(model, WyckoffRepresentation(225, (missing,), ("a",)), [[0]])
    with pytest.raises(ValueError, match="fixed set of points"):
        diffusion.draw(model, INVALID, [[0]])
    blank = network([])
    with pytest.raises(ValueError, match="no cubic crystal"):
        diffusion.draw(blank, SALT, [[0]])


def test_nan_is_an_error_and_no_crystal(framed):
    model = network(framed)
    with torch.no_grad():
        model.element.weight[0] = torch.nan
    with pytest.raises(ValueError, match="gave NaN"):
        diffusion.draw(model, CORUNDUM, [[0]])
