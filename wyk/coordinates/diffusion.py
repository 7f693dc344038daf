"""Diffusion of what a space group leaves free in a crystal: one point of each orbit, and the cell (paper, §3.4).

After DiffCSP (Jiao et al., NeurIPS 2023) and DiffCSP++ (Jiao et al., ICLR 2024): coordinates lose themselves in a
wrapped normal, the coefficients of the lattice in a standard one. Here σ is in Å, so that it means the same in every
cell, and the network sees distances, so that the choice of cell and origin means nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from operator import itemgetter
from pathlib import Path

import numpy as np
import torch
from pymatgen.core import Structure
from torch import Tensor

from wyk.common import weights
from wyk.coordinates.denoiser import CUTOFF, Denoiser, Graph
from wyk.coordinates.frames import BASIS, FREE, Frame, empty
from wyk.crystals import WyckoffRepresentation
from wyk.plumbing import Diffusion
from wyk.relaxation import Crystal, bonds, springs

SIGMA = (0.05, 2.0)  # Å, least and most noise of the coordinates; the most fills the cell
EASE = 0.7  # Å, noise of the coordinates at which half of the variance of the lattice is noise
STEPS = 30  # of denoising
HEAT = 0.3  # of the noise that comes back in each step: nearer to the likeliest crystals than 1
CANDIDATES = 4  # of which that is drawn whose cell the network would change the least
FURTHEST = 4.0  # standard deviations that a cell may be from the usual one
ASTRAY = 1e-3  # Å, of a way that is still free
CELLS = np.array(list(product([-1, 0, 1], repeat=3)))
FAMILIES = ("triclinic", "monoclinic", "orthorhombic", "tetragonal, trigonal or hexagonal", "cubic")


# --- noise


def usual_lattice(frame: Frame) -> np.ndarray:
    """(k,) Coefficients of the lattice that has F's shape and the volume that is usual for the elements."""
    ratio = springs.usual_volume(frame.crystal) / abs(np.linalg.det(frame.crystal.lattice))
    k = np.zeros(FREE[frame.family])
    k[0] = np.log(ratio) / 3**0.5  # tr S = √3 k₀ is the logarithm of the ratio of volumes
    return k


def shapes(crystals: Sequence[tuple[Frame, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation (5, 6) of the coefficients of each family's lattices, less what is usual.

    Where a family has none, both are 0. A standard deviation is one as if another crystal lay 0.3 from the mean.

    Args:
        crystals: the frame and k of each.
    """
    mean, std = np.zeros((5, 6)), np.zeros((5, 6))
    for family, free in enumerate(FREE):
        rows = np.array([k - usual_lattice(f) for f, k in crystals if f.family == family])
        if len(rows):
            mean[family, :free] = rows.mean(axis=0)
            std[family, :free] = np.sqrt(rows.var(axis=0) + 0.3**2 / len(rows))
    return mean, std


def signal(sigma: float) -> float:
    """α, what is left of a standardised coefficient of the lattice: it becomes α y + √(1 − α²) ε (DDPM)."""
    return EASE / (sigma**2 + EASE**2) ** 0.5


def score(frame: Frame, fractional, moved, lattice: np.ndarray, sigma: float) -> np.ndarray:
    """σ ∇ log p(moved | fractional), Å over Å, at the first atom of each orbit (r, 3) (DiffCSP, eq. 6).

    An orbit is as it was if its first atom stands where any of its atoms did, in any cell: the normal is summed over
    all of these to which the way is free.

    Args:
        frame: of the crystal.
        fractional, moved: (n, 3) where the atoms were and are, in fractions of the primitive cell.
        lattice: (3, 3) in which distances are measured, Å.
        sigma: Å.
    """
    first = frame.crystal.representatives
    apart = fractional - moved[first][:, None]
    ways = ((apart - np.rint(apart))[:, :, None] + CELLS) @ lattice  # (r, n, 27, 3)
    free = np.abs(ways - ways @ frame.projectors[:, None]).max(axis=-1) < ASTRAY
    free &= (frame.crystal.orbits == np.arange(len(first))[:, None])[:, :, None]
    exponent = np.where(free, (ways**2).sum(axis=-1) / (2 * sigma**2), np.inf)
    weight = np.exp(exponent.min(axis=(1, 2), keepdims=True) - exponent)
    mean = np.einsum("rnc,rnca->ra", weight, ways) / weight.sum(axis=(1, 2))[:, None]
    return frame.spread(mean / sigma)[first]


# --- what the network sees, and what it should say


def graph(model: Denoiser, frame: Frame, crystal: Crystal, y: np.ndarray, sigma: float) -> Graph:
    """A noisy crystal as the network sees it.

    Args:
        model: for its elements.
        frame: of the crystal.
        crystal: where its atoms are.
        y: (k,) standardised coefficients of its lattice.
        sigma: noise, Å.
    """
    centre, neighbour, cell, _, times = bonds(crystal, CUTOFF)
    first = crystal.representatives

    def real(x) -> Tensor:
        return torch.tensor(np.asarray(x), dtype=torch.float32)

    def whole(x) -> Tensor:
        return torch.tensor(np.asarray(x), dtype=torch.long)

    return Graph(
        element=whole([model.index[z] for z in crystal.numbers[first].tolist()]),
        dof=whole(frame.dof),
        size=whole(crystal.orbit_sizes),
        crystal=whole(np.zeros(len(first))),
        projector=real(frame.projectors),
        centre=whole(crystal.orbits[centre]),
        neighbour=whole(crystal.orbits[neighbour]),
        vector=real(
            crystal.positions[neighbour] - crystal.positions[centre] + cell @ crystal.lattice
        ),
        usual=real(springs.closest(crystal, centre, neighbour)),
        times=real(times),
        carrier=real(frame.carriers[neighbour]),
        noise=real([np.log(sigma)]),
        lattice=real([np.pad(y, (0, len(BASIS) - len(y)))]),
        group=whole([frame.number]),
    )


@dataclass(frozen=True)
class Lesson:
    """Noisy crystals, and what the network should say of them.

    Attributes:
        graph: the crystals.
        moves: (n, 3) of `score`.
        strains: (crystals, 6) of the lattice: (y − α y') / √(1 − α²) of its coefficients y and noisy ones y'; NaN
            where the family has none. They have unit variance whatever the noise.
    """

    graph: Graph
    moves: Tensor
    strains: Tensor


def lesson(model: Denoiser, frame: Frame, fractional, k: np.ndarray, seed) -> Lesson:
    """A crystal with noise of random strength.

    Args:
        model: for its elements and shapes of cells.
        frame, fractional, k: of the crystal, as `frames.of_structure` gives them.
        seed: anything `np.random.default_rng` takes.
    """
    rng = np.random.default_rng(seed)
    sigma = float(np.exp(rng.uniform(*np.log(SIGMA))))
    alpha, (centre, scale) = signal(sigma), _standard(model, frame)
    lattice = frame.lattice(centre)
    noise = sigma * rng.standard_normal((len(frame.dof), 3))
    moved = fractional + frame.spread(noise) @ np.linalg.inv(lattice)
    y = (k - centre) / scale
    noisy = alpha * y + (1 - alpha**2) ** 0.5 * rng.standard_normal(len(y))
    crystal = frame.at(moved, centre + scale * noisy)
    strains = np.full((1, 6), np.nan)
    strains[0, : len(y)] = (y - alpha * noisy) / (1 - alpha**2) ** 0.5
    moves = score(frame, fractional, moved, lattice, sigma)
    return Lesson(
        graph(model, frame, crystal, noisy, sigma),
        torch.tensor(moves, dtype=torch.float32),
        torch.tensor(strains, dtype=torch.float32),
    )


def _standard(model: Denoiser, frame: Frame) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation (k,) of the coefficients of the lattice of crystals like this one."""
    free = FREE[frame.family]
    mean, std = (x[frame.family, :free].double().numpy() for x in (model.mean, model.std))
    return mean + usual_lattice(frame), std


def loss(model: Denoiser, lessons: Lesson) -> Tensor:
    """Mean square error of free coordinates, plus that of free coefficients of the lattice."""
    return error(lessons, *model(lessons.graph))


def error(lessons: Lesson, moves: Tensor, strains: Tensor) -> Tensor:
    """`loss` of what the network said."""
    known = lessons.strains.isfinite()
    off = (moves - lessons.moves).square().sum() / lessons.graph.dof.sum().clamp(min=1)
    return off + (strains - lessons.strains)[known].square().mean()


# --- from noise to crystals


@cache
def load(folder: str | Path) -> Denoiser:
    """The network in a model folder, read once per process; errors as of `weights.networks`."""
    (model,), model_config = weights.networks(folder, Denoiser, Diffusion)
    model.config = model_config
    return model.eval()


def draw(
    model: Denoiser, representation: WyckoffRepresentation, seeds: Sequence, steps: int = STEPS
) -> list[Structure]:
    """Crystals with a representation, denoised side by side from atoms anywhere on their positions.

    Each is the best of CANDIDATES by what the network says of their cells in the last step. Even a representation
    without a free coordinate has a cell, which is drawn.

    Args:
        model: trained.
        representation: formally valid.
        seeds: of each crystal, anything `np.random.default_rng` takes; the same seed gives the same crystal up to
            rounding, however many are drawn beside it.
        steps: of denoising.

    Returns:
        Primitive cell of each.

    Raises:
        ValueError: for a formally invalid representation, an element or a crystal family that the model has not
            learned, and NaN on the way.
    """
    frame, anchors = empty(representation)
    if unknown := set(representation.elements) - set(model.elements):
        raise ValueError(f"the diffusion has not learned {', '.join(sorted(unknown))}")
    if not model.std[frame.family].any():
        raise ValueError(f"the diffusion has learned no {FAMILIES[frame.family]} crystal")
    rngs = [rng for seed in seeds for rng in np.random.default_rng(seed).spawn(CANDIDATES)]
    inverse = np.linalg.inv(frame.crystal.lattice)
    fractional = [
        (frame.crystal.positions + frame.spread(np.einsum("ra,rab->rb", parameters, anchors)))
        @ inverse
        for parameters in (rng.random((len(anchors), 3)) for rng in rngs)
    ]
    made = denoise(model, [frame] * len(rngs), fractional, rngs, steps, HEAT)
    several = (made[i : i + CANDIDATES] for i in range(0, len(made), CANDIDATES))
    return [min(candidates, key=itemgetter(1))[0] for candidates in several]


def denoise(
    model: Denoiser,
    frames: Sequence[Frame],
    fractional: Sequence[np.ndarray],
    rngs: Sequence[np.random.Generator],
    steps: int,
    heat: float = 1.0,
    reveal: Callable[..., list[Frame]] | None = None,
) -> list[tuple[Structure, float]]:
    """Crystals out of noise, by ancestral sampling over noises that fall geometrically.

    Args:
        model: trained.
        frames: of each crystal.
        fractional: (n, 3) where its atoms are at first, in fractions of the primitive cell.
        rngs: its random numbers.
        steps: of denoising.
        heat: of the noise that comes back in each step; 1 samples from the distribution that was learned.
        reveal: gives the frames after a step, from those before, the noises before and after, rngs, and what the
            network says beside moves and strains; by default they stay.

    Returns:
        Primitive cell of each, and how far the network would strain it in the last step (standardised).

    Raises:
        ValueError: if the network gives NaN.
    """
    standard = [_standard(model, frame) for frame in frames]
    back = [np.linalg.inv(f.lattice(mean)) for f, (mean, _) in zip(frames, standard, strict=True)]
    x = list(fractional)
    y = [rng.standard_normal(len(mean)) for (mean, _), rng in zip(standard, rngs, strict=True)]
    left = [0.0] * len(frames)
    sigmas = np.geomspace(*reversed(SIGMA), steps)

    def place(i: int) -> Crystal:
        mean, std = standard[i]
        return frames[i].at(x[i], mean + std * y[i])

    for sigma, lower in zip(sigmas, [*sigmas[1:], 0.0], strict=True):
        graphs = [graph(model, f, place(i), y[i], sigma) for i, f in enumerate(frames)]
        with torch.inference_mode():
            moves, strains, *more = model(Graph.together(graphs))
        if not (moves.isfinite().all() and strains.isfinite().all()):
            raise ValueError("the diffusion gave NaN: its weights are damaged; train it again")
        moves = torch.split(moves, [len(f.dof) for f in frames])
        for i, frame in enumerate(frames):
            fresh = lower * (1 - (lower / sigma) ** 2) ** 0.5
            kept = lower**2 / sigma
            move = (sigma - kept) * moves[i].double().numpy()
            move += heat * fresh * rngs[i].standard_normal(move.shape)
            x[i] = x[i] + frame.spread(move) @ back[i]
            strain = strains[i, : len(y[i])].double().numpy()
            y[i] = _less(y[i], strain, sigma, lower, heat * rngs[i].standard_normal(len(strain)))
            left[i] = float(np.linalg.norm(strain))
        if reveal:
            frames = reveal(frames, sigma, lower, rngs, *more)
    return [(_structure(place(i)), left[i]) for i in range(len(frames))]


def _less(y, strain, sigma: float, lower: float, noise: np.ndarray) -> np.ndarray:
    """Coefficients of the lattice at a lower noise (DDPM, eq. 7); to which standard noise comes back."""
    alpha, beta = signal(sigma), signal(lower)
    clean = np.clip(alpha * y + (1 - alpha**2) ** 0.5 * strain, -FURTHEST, FURTHEST)
    error = (y - alpha * clean) / (1 - alpha**2) ** 0.5
    left = (1 - beta**2) ** 0.5
    fresh = left / (1 - alpha**2) ** 0.5 * (1 - (alpha / beta) ** 2) ** 0.5
    return beta * clean + (left**2 - fresh**2) ** 0.5 * error + fresh * noise


def _structure(crystal: Crystal) -> Structure:
    return Structure(
        crystal.lattice, crystal.numbers, crystal.positions, to_unit_cell=True, coords_are_cartesian=True
    )  # fmt: skip
