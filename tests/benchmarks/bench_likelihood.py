"""Likelihoods over random orders: every distinct context once, against every step of every order by itself.

The model and the rows are those of `biternary_7k` where they are there, else of `quick`: its test set, and samples
at T = 100, whose many sites leave the orders little in common. Prints one JSON object, and writes it to
`figures/benchmarks/likelihood.json`.
"""

import os
import time

os.environ["OMP_NUM_THREADS"] = "1"

import pandas as pd
import torch
from bench_sample import trained
from publish import publish
from torch import Tensor

from wyk.crystals.tables import from_table, read_representations
from wyk.likelihood.sequences import log_p
from wyk.model import checkpoint
from wyk.model.tokenization import Encoded, encode, prefixes
from wyk.model.transformer import WyckoffTransformer
from wyk.plumbing import paths

ORDERS = 20
BATCH = 4096
ROWS = {"test": ("represent", "test.parquet", 2000), "T=100": ("sample", "T100.parquet", 25)}


@torch.no_grad()
def naive(model: WyckoffTransformer, data: Encoded, order: Tensor) -> Tensor:
    """log p (n,) of structures with their sites in one order (n, sites), all their prefixes one by one."""
    structure = torch.arange(len(data)).repeat_interleave(data.length + 1)
    first = (data.length + 1).cumsum(0) - data.length - 1
    known = torch.arange(len(structure)) - first[structure]
    result = torch.zeros(len(data), dtype=torch.float64)
    for chosen in known.argsort(stable=True).split(BATCH):
        rows = structure[chosen]
        sites = (data.space_group[rows], data.elements[rows], data.positions[rows])
        batch = prefixes(*sites, known[chosen], order[rows])
        context = model.encode(batch.space_group, batch.elements, batch.positions)
        step = torch.zeros(len(rows), dtype=torch.float64)
        log_element = model.element_logits(context).log_softmax(-1)
        step[batch.stop] = log_element[batch.stop, -1].double()
        row, site = batch.row.unique(return_inverse=True)
        place = torch.arange(len(site))
        following = torch.full_like(row, len(site)).scatter_reduce(0, site, place, "amin")
        element, position = batch.element[following], batch.position[following]
        symmetry, enumeration = model.symmetry[position], model.enumeration[position]
        log_symmetry = model.symmetry_logits(context, row, element).log_softmax(-1)
        log_enumeration = model.enumeration_logits(context, row, element, symmetry)
        place = torch.arange(len(row))
        step[row] = (
            log_element[row, element]
            + log_symmetry[place, symmetry]
            + log_enumeration.log_softmax(-1)[place, enumeration]
        ).double()
        result.index_add_(0, rows, step)
    return result


def orders(model: WyckoffTransformer, frame: pd.DataFrame) -> tuple[Encoded, Tensor]:
    """Structures, and random orders (n, ORDERS, sites) of their sites."""
    data = encode(from_table(frame), model.elements)
    shape = (len(data), ORDERS, data.elements.shape[1])
    return data, torch.rand(shape, generator=torch.Generator().manual_seed(0))


def timed(function) -> tuple[Tensor, float]:
    """A result and the processor time it took, s: what else runs on the machine counts for little."""
    start = time.process_time()
    result = function()
    return result, time.process_time() - start


def main() -> None:
    experiment = trained()
    model = checkpoint.load(paths.run(experiment, "train"))
    result = {"experiment": experiment, "orders": ORDERS}
    for name, (stage, file, rows) in ROWS.items():
        path = paths.run(experiment, stage) / file
        data, order = orders(model, read_representations(path).head(rows))
        (ours, _), fast = timed(lambda data=data, order=order: log_p(model, data, order))
        theirs, slow = timed(
            lambda data=data, order=order: [naive(model, data, one) for one in order.unbind(1)]
        )
        result[name] = {
            "n": len(data),
            "s": round(fast, 2),
            "s_naive": round(slow, 2),
            "ratio": round(slow / fast, 1),
            "largest_difference": float((ours - torch.stack(theirs, 1)).abs().max()),
        }
    publish("likelihood", result)


if __name__ == "__main__":
    main()
