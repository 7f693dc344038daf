"""Where relaxations start: at random crystals of pyXtal, at crystals of the diffusion, or at both in turn."""

from collections.abc import Sequence
from pathlib import Path

from pymatgen.core import Structure

from wyk.coordinates import diffusion, pyxtal_start
from wyk.crystals import WyckoffRepresentation

STARTS = ("pyxtal", "diffusion", "mixed")


def draw(
    representation: WyckoffRepresentation,
    seeds: Sequence,
    start: str = "pyxtal",
    model: str | Path | None = None,
) -> list[Structure | Exception]:
    """Crystals of a representation to be relaxed.

    Args:
        representation: formally valid.
        seeds: of each crystal, anything `np.random.default_rng` takes.
        start: of STARTS; mixed takes the first crystal from the diffusion, the second from pyXtal, and so on.
        model: folder of a trained diffusion; not needed for pyXtal.

    Returns:
        A crystal for each seed, or why there is none.
    """
    if start == "pyxtal":
        return [_drawn(representation, seed) for seed in seeds]
    if start == "diffusion":
        return _denoised(representation, seeds, model)
    crystals: list[Structure | Exception] = [*seeds]
    crystals[::2] = _denoised(representation, seeds[::2], model)
    crystals[1::2] = [_drawn(representation, seed) for seed in seeds[1::2]]
    return crystals


def _drawn(representation: WyckoffRepresentation, seed) -> Structure | Exception:
    try:
        return pyxtal_start.draw(representation, seed)
    except Exception as error:  # pyXtal raises of all kinds
        return error


def _denoised(representation, seeds: Sequence, model: str | Path) -> list[Structure | Exception]:
    try:
        return diffusion.draw(diffusion.load(model), representation, seeds)
    except ValueError as error:
        return [error] * len(seeds)
