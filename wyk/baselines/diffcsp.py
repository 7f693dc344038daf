"""DiffCSP without symmetry, retrained: all atoms of a primitive cell, their elements and the cell come out of noise.

Source: R. Jiao, W. Huang, P. Lin, J. Han, P. Chen, Y. Lu, Y. Liu, "Crystal structure prediction by joint equivariant
diffusion", NeurIPS 2023, in the form that generates ab initio (§5.4): the number of atoms is that of a known crystal
drawn at random. It is our own diffusion in group 1, where every atom is an orbit and all six coefficients of the
lattice are free, so that what differs in Table 1 is the symmetry. What differs from the published one:

- Elements are not one-hot vectors in Gaussian noise: each becomes unknown at some noise, and known again on the way
  back (absorbing diffusion; Austin et al., NeurIPS 2021). An unknown one is atomic number 0, and of medium size.
- Network and noise in Å are those of `wyk.coordinates.denoiser` and `wyk.coordinates.diffusion`. Its messages reach
  5 Å, and not, as in the published one, every atom of the cell: so which elements are present stands beside them.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

import numpy as np
import pandas as pd
import spglib
import torch
import torch.nn.functional as F
from pymatgen.core import Structure
from torch import Tensor, nn
from tqdm import tqdm

from wyk.common import ELEMENTS, weights
from wyk.coordinates import (
    BASIS,
    Denoiser,
    Frame,
    Graph,
    coefficients,
    diffusion,
    diffusion_training,
)
from wyk.plumbing import Diffusion, params, paths, workers
from wyk.relaxation import springs, with_operations

UNKNOWN = 0  # in place of an atomic number
STEPS = 50  # of denoising
BATCH = 25  # crystals denoised side by side
TIME_LIMIT = 60.0  # s for each of them


def run(name: str, jobs: int = 1) -> pd.DataFrame:
    """Train on an experiment's train and val crystals, or go on where a run stopped; then generate crystals.

    Writes the model and `crystals.parquet` to runs/<name>/diffcsp.

    Args:
        name: of the experiment.
        jobs: processes; the result does not depend on it.

    Returns:
        The table of crystals: `material_id`, `cif`, and `reason` where there is none.

    Raises:
        ValueError, OSError: as `diffusion_training.train`.
    """
    experiment, folder = params.experiment(name), paths.run(name, "diffcsp")
    sources = (experiment.data.train, experiment.data.val)
    crystals = [alone(*crystal) for crystal in diffusion_training.framed(sources, jobs)]
    diffusion_training.begin()
    model = untrained(experiment.diffcsp, crystals)
    config = diffusion_training.config(name, model, crystals)
    diffusion_training.fit(model, crystals, folder, config, jobs, lesson=lesson, loss=loss)
    sizes = [len(frame.crystal) for frame, *_ in crystals]
    made = generate(folder, sizes, experiment.baselines.crystals, config["seed"], jobs)
    made.attrs = {  # goes into the Parquet, and from there into metrics
        "model": "DiffCSP without symmetry, retrained",
        "parameters": config["parameters"],
        "trained_on": config["structures"],
        "epochs": experiment.diffcsp.epochs,
    }
    with paths.writing(folder / "crystals.parquet") as temporary:
        made.to_parquet(temporary, index=False)
    return made


# --- crystals without symmetry


def alone(frame: Frame, fractional: np.ndarray, k: np.ndarray) -> tuple:
    """A crystal in its Niggli cell, in the frame of group 1; arguments and result as `frames.of_structure` gives them.

    Raises:
        ValueError: if there is no Niggli cell.
    """
    crystal = frame.at(fractional, k)
    lattice = spglib.niggli_reduce(crystal.lattice)
    if lattice is None:
        raise ValueError("spglib finds no Niggli cell")
    fractional = crystal.positions @ np.linalg.inv(lattice)
    k = coefficients(lattice @ lattice.T, len(BASIS))
    return _in_group_1(crystal.numbers, fractional), fractional, k


def _in_group_1(numbers: np.ndarray, fractional: np.ndarray) -> Frame:
    nothing = np.eye(3)[None], np.zeros((1, 3))
    return Frame(1, with_operations(np.eye(3), fractional, numbers, *nothing))


def _with(frame: Frame, numbers: np.ndarray) -> Frame:
    return replace(frame, crystal=replace(frame.crystal, numbers=numbers))


def _unknown(frame: Frame) -> Frame:
    """The frame before any element is known; the usual lattice is that of atoms of medium size."""
    return _with(frame, np.full(len(frame.crystal), UNKNOWN))


# --- the network, and what it should say


class Network(Denoiser):
    """The denoiser, to which an unknown element is one more, and which also says what element each atom has."""

    def __init__(self, settings: Diffusion, elements: tuple[str, ...]):
        super().__init__(settings, elements)
        d, self.index[UNKNOWN] = settings.d, len(elements)
        self.element_descriptors = F.pad(self.element_descriptors, (0, 0, 0, 1))
        self.element = nn.Embedding(len(elements) + 1, d)
        self.kind = nn.Sequential(
            nn.LayerNorm(d), nn.Linear(d, d), nn.SiLU(), nn.Linear(d, len(elements))
        )
        self.context = nn.Linear(len(elements) + 1, d, bias=False)
        self.presence = nn.Linear(len(elements) + 1, len(elements), bias=False)
        nn.init.normal_(self.element.weight, std=0.05)

    def said(self, graph: Graph, radial: Tensor, direction: Tensor, s: Tensor, v: Tensor):
        """Moves and strains, and (n, elements) logits."""
        present = torch.zeros(len(graph.noise), len(self.index))
        present[graph.crystal, graph.element] = 1
        here = self.context(present)[graph.crystal]
        logits = self.kind(s + here) + self.presence(present)[graph.crystal]
        return (*super().said(graph, radial, direction, s, v), logits)


def untrained(settings: Diffusion, crystals: list[tuple]) -> Network:
    """A network for the elements and the cells of crystals, as `alone` gives them."""
    model = Network(settings, diffusion_training.elements_of(crystals))
    return diffusion_training.shaped(model, [(_unknown(frame), k) for frame, _, k in crystals])


@dataclass(frozen=True)
class Lesson(diffusion.Lesson):
    """Noisy crystals, and what the network should say of them.

    Attributes:
        element: (n,) index of what each atom is.
    """

    element: Tensor


def hidden(sigma: float) -> float:
    """Share of elements that are unknown at a noise: all at the most, none at the least."""
    least, most = np.log(diffusion.SIGMA)
    return float(np.clip((np.log(sigma) - least) / (most - least), 0, 1)) if sigma else 0.0


def lesson(model: Network, frame: Frame, fractional: np.ndarray, k: np.ndarray, seed) -> Lesson:
    """A crystal with noise of random strength, as `diffusion.lesson` makes it, and some elements unknown."""
    noisy = diffusion.lesson(model, _unknown(frame), fractional, k, seed)
    numbers, graph = frame.crystal.numbers, noisy.graph
    lost = np.random.default_rng([*seed, 1]).random(len(numbers)) < hidden(graph.noise.exp().item())
    seen = _with(frame, np.where(lost, UNKNOWN, numbers)).crystal
    usual = springs.closest(seen, graph.centre.numpy(), graph.neighbour.numpy())
    element, shown = (
        torch.tensor([model.index[z] for z in each.tolist()]) for each in (numbers, seen.numbers)
    )
    graph = replace(graph, element=shown, usual=torch.tensor(usual, dtype=torch.float32))
    return Lesson(graph, noisy.moves, noisy.strains, element)


def loss(model: Network, lessons: Lesson) -> Tensor:
    """That of `diffusion.loss`, plus the mean cross-entropy of unknown elements."""
    moves, strains, logits = model(lessons.graph)
    lost = lessons.graph.element == model.index[UNKNOWN]
    entropy = F.cross_entropy(logits[lost], lessons.element[lost], reduction="sum")
    return diffusion.error(lessons, moves, strains) + entropy / lost.sum().clamp(min=1)


# --- from noise to crystals


def generate(folder: Path, sizes: Sequence[int], n: int, seed: int, jobs: int = 1) -> pd.DataFrame:
    """Crystals of a trained network.

    Args:
        folder: of the network.
        sizes: atoms in known crystals.
        n: how many.
        seed: the same seed gives the same crystals.
        jobs: processes; the result does not depend on it.

    Returns:
        A row for each: `material_id`, `cif` (a primitive cell, no symmetry), and `reason` where there is none.
    """
    chosen = np.random.default_rng(seed).choice(sizes, n).tolist()
    rows = [{"material_id": f"{i:05d}", "cif": None, "reason": None} for i in range(n)]
    tasks = {
        start: (folder, chosen[start : start + BATCH], [[seed, start + i] for i in range(BATCH)])
        for start in range(0, n, BATCH)
    }
    results = workers.as_done(_cifs, tasks, jobs, BATCH * TIME_LIMIT)
    for start, cifs, reason in tqdm(
        results, "crystals", len(tasks), unit="batch", disable=None, file=sys.stderr
    ):
        for i, row in enumerate(rows[start : start + BATCH]):
            row |= {"reason": reason} if reason else {"cif": cifs[i]}
    return pd.DataFrame(rows)


@cache
def load(folder: str | Path) -> Network:
    """The network in a model folder, read once per process; errors as of `weights.networks`."""
    (model,), _ = weights.networks(folder, Network, Diffusion)
    return model.eval()


def _cifs(folder: Path, sizes: Sequence[int], seeds: Sequence) -> list[str]:
    return [crystal.to(fmt="cif") for crystal in draw(load(folder), sizes, seeds)]


def draw(
    model: Network, sizes: Sequence[int], seeds: Sequence, steps: int = STEPS
) -> list[Structure]:
    """Crystals of so many atoms, denoised side by side from unknown atoms anywhere.

    Args:
        model: trained.
        sizes: atoms of each.
        seeds: of each, at least as many, anything `np.random.default_rng` takes.
        steps: of denoising.

    Raises:
        ValueError: for NaN on the way.
    """
    rngs = [np.random.default_rng(seed) for seed, _ in zip(seeds, sizes, strict=False)]
    fractional = [rng.random((n, 3)) for n, rng in zip(sizes, rngs, strict=True)]
    frames = [_in_group_1(np.full(len(x), UNKNOWN), x) for x in fractional]
    made = diffusion.denoise(model, frames, fractional, rngs, steps, reveal=partial(_reveal, model))
    return [crystal for crystal, _ in made]


def _reveal(model: Network, frames, sigma: float, lower: float, rngs, logits: Tensor):
    """The frames with more elements known, as at a lower noise: drawn as likely as the network says."""
    numbers = [ELEMENTS.index(symbol) + 1 for symbol in model.elements]
    share = 1 - hidden(lower) / hidden(sigma) if hidden(sigma) else 0.0
    likely = torch.split(logits.double().softmax(1), [len(frame.crystal) for frame in frames])
    result = []
    for frame, rng, p in zip(frames, rngs, likely, strict=True):
        known = frame.crystal.numbers.copy()
        found = (known == UNKNOWN) & (rng.random(len(known)) < share)
        known[found] = [rng.choice(numbers, p=row) for row in p.numpy()[found]]
        result.append(_with(frame, known))
    return result
