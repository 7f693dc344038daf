"""Calibration of samples: as many elements and sites as real crystals have."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from wyk import sampling
from wyk.model import Ensemble, WyckoffTransformer

ROUNDS, SAMPLES = 6, 10_000
GAIN = (6.0, 2.5)  # shift of the log-odds per logarithm of what is too many: found by trial
LARGEST = 0.35  # shift of one round


@torch.no_grad()
def calibrate(
    model: WyckoffTransformer | Ensemble, elements: Iterable[Sequence[str]], seed: int
) -> None:
    """Shift the log-odds of a new and of a known element, against STOP, until samples have as many of each as data.

    A model that is calibrated on real prefixes drifts on its own: where elements meet that seldom do, it has seen
    little, and goes on for longer. Two numbers put that right; they are the same for all members, and the best of
    a few rounds, so that samples never become worse.

    Args:
        model: of `presence: kinds`; changed in place.
        elements: of the sites of each training structure.
        seed: of the samples.
    """
    members = model.members if isinstance(model, Ensemble) else [model]
    biases = [member.kind_head.layers[-1].bias for member in members]
    start = [bias[:2].clone() for bias in biases]

    def apply(shift: Tensor) -> None:
        for bias, value in zip(biases, start, strict=True):
            bias[:2] = value + shift

    wanted = _additions(elements)
    shift, best = torch.zeros(2), (torch.inf, torch.zeros(2))
    for _ in range(ROUNDS):
        apply(shift)
        drawn = _additions(sampling.sample(model, SAMPLES, seed=seed)["elements"])
        lacking = (wanted / drawn.clamp(min=0.01)).log()
        best = min(best, (lacking.abs().max().item(), shift), key=lambda pair: pair[0])
        shift = shift + (torch.tensor(GAIN) * lacking).clamp(-LARGEST, LARGEST)
    apply(best[1])


def _additions(elements: Iterable[Sequence[str]]) -> Tensor:
    """Mean numbers of elements after the first, and of sites of elements that are there already, (2,)."""
    counts = [(len(set(sites)) - 1, len(sites) - len(set(sites))) for sites in elements]
    return torch.tensor(counts, dtype=torch.float32).mean(0)
