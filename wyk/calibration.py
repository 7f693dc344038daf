"""Calibration of samples: as many elements and sites as real crystals have."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from wyk import checkpoint, sampling
from wyk.model import WyckoffTransformer

ROUNDS, SAMPLES = 6, 10_000
GAIN = (6.0, 2.5)  # shift of the log-odds per logarithm of what is too many: found by trial
LARGEST = 0.35  # shift of one round


@torch.no_grad()
def calibrate(
    folder: Path,
    models: Sequence[WyckoffTransformer],
    config: dict,
    elements: Iterable[Sequence[str]],
    seed: int,
) -> None:
    """Shift the log-odds of a new and of a known element, against STOP, until samples have as many of each as data.

    A model that is calibrated on real prefixes drifts on its own: where elements meet that seldom do, it has seen
    little, and goes on for longer. Two numbers put that right; they are the same for all members, and the best of
    a few rounds, so that samples never become worse.

    Args:
        folder: where the model is saved.
        models: its members, of `presence: kinds`; changed in place.
        config: as in `checkpoint.save`.
        elements: of the sites of each training structure.
        seed: of the samples.
    """
    wanted = _additions(elements)
    shift, best = torch.zeros(2), (torch.inf, torch.zeros(2))
    start = [model.kind_head.layers[-1].bias[:2].clone() for model in models]

    def save(shift: Tensor) -> None:
        for model, bias in zip(models, start, strict=True):
            model.kind_head.layers[-1].bias[:2] = bias + shift
        checkpoint.save(folder, models, config)

    for _ in range(ROUNDS):
        save(shift)
        drawn = _additions(sampling.sample(folder, SAMPLES, seed=seed)["elements"])
        lacking = (wanted / drawn.clamp(min=0.01)).log()
        best = min(best, (lacking.abs().max().item(), shift), key=lambda pair: pair[0])
        shift = shift + (torch.tensor(GAIN) * lacking).clamp(-LARGEST, LARGEST)
    save(best[1])


def _additions(elements: Iterable[Sequence[str]]) -> Tensor:
    """Mean numbers of elements after the first, and of sites of elements that are there already, (2,)."""
    counts = [(len(set(sites)) - 1, len(sites) - len(set(sites))) for sites in elements]
    return torch.tensor(counts, dtype=torch.float32).mean(0)
