"""Lessons for a second training: what all members of an ensemble know together, said in any order of the sites.

A set has no order, but a network learns its conditionals one by one, and they do not quite fit together: what it says
of a crystal depends on the order. Its samples, shuffled, are a data set of as many structures as one likes whose
distribution has no order by definition (on a Wyckoff representation p(order | set) is uniform). Networks that learn
from them agree with themselves, and keep most of what the ensemble knows.
"""

from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from wyk import sampling
from wyk.crystals import VOCABULARY
from wyk.model import Charges, checkpoint
from wyk.plumbing import as_done

SHARD = 10_000  # samples drawn in one go
ROUNDS = 20  # of raking; after five nothing moves
MOST = 2.0  # times that a kind of structure may be rarer in the samples than in the data


def lessons(teacher: Path, data: pd.DataFrame, n: int, seed: int, jobs: int) -> pd.DataFrame:
    """Samples of a model, thinned out until they are as real crystals are in `kinds`.

    Args:
        teacher: folder of the model.
        data: representations it learned from.
        n: samples drawn; about half of them stay.
        seed: of everything random.
        jobs: processes; the result does not depend on their number.

    Raises:
        ValueError: if a process failed.
    """
    tasks = {first: (teacher, min(SHARD, n - first), seed + first) for first in range(0, n, SHARD)}
    drawn = {}
    for first, table, reason in as_done(_draw, tasks, jobs):
        if reason:
            raise ValueError(f"samples of {teacher}: {reason}")
        drawn[first] = table
    samples = pd.concat([drawn[first] for first in tasks], ignore_index=True)
    weight = weights(samples, data)
    generator = torch.Generator().manual_seed(seed)
    keep = torch.rand(n, generator=generator, dtype=torch.double) < weight / MOST
    return samples[keep.numpy()]


def _draw(teacher: Path, n: int, seed: int) -> pd.DataFrame:
    return sampling.sample(checkpoint.load(teacher), n, seed=seed)


def weights(samples: pd.DataFrame, data: pd.DataFrame) -> Tensor:
    """Weights of samples (n,), 1 on average, with which they have the data's share of each kind of structure.

    Iterative proportional fitting (Deming and Stephan, Annals of Mathematical Statistics 11, 427, 1940): of all
    weights that do so they are the ones nearest to equal. A kind that the data lack has weight 0.
    """
    mine, wanted = kinds(samples), kinds(data)
    weight = torch.ones(len(samples), dtype=torch.double)
    for _ in range(ROUNDS):
        for kind, real in zip(mine, wanted, strict=True):
            size = int(max(kind.max(), real.max())) + 1
            share = torch.bincount(kind, weight, size) / weight.sum()
            goal = torch.bincount(real, minlength=size) / len(real)
            weight = weight * (goal / share.clamp(min=1e-12))[kind]
    return weight / weight.mean()


def kinds(frame: pd.DataFrame) -> tuple[Tensor, Tensor]:
    """The number of sites of each structure (n,), and which pair of number of elements and charge balance it has."""
    index = {symbol: i for i, symbol in enumerate(VOCABULARY)}
    length = torch.tensor(frame["elements"].map(len).tolist())
    row = torch.arange(len(frame)).repeat_interleave(length)
    element = torch.tensor([index[symbol] for symbols in frame["elements"] for symbol in symbols])
    count = torch.tensor([m for sizes in frame["multiplicities"] for m in sizes]).float()
    atoms = torch.zeros(len(frame), len(index)).index_put_((row, element), count, accumulate=True)
    return length, 3 * (atoms > 0).sum(1) + Charges(VOCABULARY).balance(atoms)
