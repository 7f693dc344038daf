"""Populations of weighted samples, in strata that are renewed and chosen from each for itself."""

from dataclasses import dataclass, fields

import torch
from torch import Tensor


@dataclass
class Population:
    """p samples on their way.

    Attributes:
        start: (p,) what each started from.
        group: (p,) its space group.
        elements, positions: (p, sites) its sites, -1 for none.
        weight: (p,) log of what it counts.
        ancestor: (p,) a name shared by those that came out of one sample since the required elements were there.
    """

    start: Tensor
    group: Tensor
    elements: Tensor
    positions: Tensor
    weight: Tensor
    ancestor: Tensor

    def __getitem__(self, rows: Tensor) -> "Population":
        return Population(*(getattr(self, field.name)[rows] for field in fields(self)))

    def __len__(self) -> int:
        return len(self.start)

    @classmethod
    def together(cls, parts: list["Population"]) -> "Population":
        return cls(*(torch.cat([getattr(p, f.name) for p in parts]) for f in fields(cls)))


def systematic(log: Tensor, stratum: Tensor, counts: Tensor, generator: torch.Generator) -> Tensor:
    """Rows chosen by their weights, so many of each stratum, each as often as its weight says to the next integer."""
    rows = stratum.argsort(stable=True)
    log, stratum = log[rows], stratum[rows]
    share = (log - total(log, stratum, len(counts))[stratum]).exp() * counts[stratum]
    ends = share.cumsum(0)
    of = torch.arange(len(counts)).repeat_interleave(counts)  # the stratum of each choice
    shift = torch.rand(len(counts), dtype=torch.double, generator=generator)
    found = torch.searchsorted(ends, torch.arange(len(of)) + shift[of], right=True)
    size = torch.bincount(stratum, minlength=len(counts))
    last = size.cumsum(0)
    return rows[found.clamp(min=(last - size)[of], max=(last - 1)[of])]


def total(log: Tensor, stratum: Tensor, strata: int) -> Tensor:
    """Log of the sum of weights of each stratum, (strata,)."""
    highest = torch.full((strata,), -torch.inf, dtype=torch.double)
    highest = highest.scatter_reduce(0, stratum, log, "amax")
    shifted = (log - highest[stratum]).nan_to_num(nan=-torch.inf).exp()
    return torch.zeros(strata, dtype=torch.double).index_add(0, stratum, shifted).log() + highest


def effective(log: Tensor, stratum: Tensor, strata: int) -> Tensor:
    """Effective number of samples of each stratum, (Σ w)² / Σ w², (strata,)."""
    squares = total(2 * log, stratum, strata)
    return (2 * total(log, stratum, strata) - squares).exp().nan_to_num(nan=0.0)


def families(samples: Population, stratum: Tensor) -> tuple[Tensor, Tensor]:
    """Log of what all samples of one ancestor count together, and its stratum, each (ancestors,)."""
    names, family = samples.ancestor.unique(return_inverse=True)
    of = torch.zeros(len(names), dtype=torch.long).index_put((family,), stratum)
    return total(samples.weight, family, len(names)), of


def compact(samples: Population) -> tuple[Tensor, Tensor]:
    """Elements and positions (p, sites) without the blanks between given sites and others."""
    there = samples.elements >= 0
    order = (~there).int().argsort(dim=1, stable=True)[:, : int(there.sum(1).max())]
    return samples.elements.gather(1, order), samples.positions.gather(1, order)
