"""Log-likelihood of sets of Wyckoff positions, in a given order and in random ones (paper, Appendix D)."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from wyk import checkpoint
from wyk.model import WyckoffTransformer
from wyk.representation import from_table
from wyk.tokenization import VOCABULARY, Encoded, encode, prefixes

BATCH = 4096  # prefixes encoded at once


def likelihood(
    model_dir: str | Path,
    frame: pd.DataFrame,
    permutations: int = 20,
    seed: int = 0,
    formal_masks: bool = True,
) -> pd.DataFrame:
    """Likelihoods of representations under a model, in nats.

    Args:
        model_dir: folder of the model.
        frame: (n) representations; the order of the sites of a row is its given order.
        permutations: random orders of each row.
        seed: of the orders.
        formal_masks: whether the model knows which positions are impossible.

    Returns:
        One row each: `material_id`, `n_sites`, `log_p` (given order, formula (2)), `log_p_mean` and `log_p_std`
        (mean and standard deviation over the random orders) and `reason`, null or why the row has no likelihood.
    """
    model = checkpoint.load(model_dir)
    representations = from_table(frame)
    reasons = [_refusal(r) for r in representations]
    good = np.array([reason is None for reason in reasons], bool)
    data = encode([r for r, ok in zip(representations, good, strict=True) if ok], VOCABULARY)
    generator = torch.Generator().manual_seed(seed)
    given = torch.arange(data.elements.shape[1]).expand_as(data.elements).float()
    own = log_p(model, data, given, formal_masks)
    random = torch.stack(
        [
            log_p(model, data, torch.rand(data.elements.shape, generator=generator), formal_masks)
            for _ in range(permutations)
        ],
        1,
    )
    result = pd.DataFrame(
        {
            "material_id": frame["material_id"].to_numpy(),
            "n_sites": [len(r.letters) for r in representations],
        }
    )
    for column, values in (
        ("log_p", own),
        ("log_p_mean", random.mean(1)),
        ("log_p_std", random.std(1, correction=0)),
    ):
        result[column] = np.nan
        result.loc[good, column] = values.numpy()
    return result.assign(reason=reasons)


@torch.no_grad()
def log_p(
    model: WyckoffTransformer, data: Encoded, order: Tensor, formal_masks: bool = True
) -> Tensor:
    """log p of each structure with its sites in one order, (n,), nats; formula (2) of Appendix D.

    The sum over the sites of log p(element) + log p(site symmetry | element) + log p(enumeration | both), each
    given the sites before, and log p(STOP) after the last one.

    Args:
        model: the model.
        data: n structures.
        order: (n, sites) sort keys of the sites.
        formal_masks: as in `WyckoffTransformer`.
    """
    structure = torch.arange(len(data)).repeat_interleave(data.length + 1)
    first = (data.length + 1).cumsum(0) - data.length - 1
    known = torch.arange(len(structure)) - first[structure]
    result = torch.zeros(len(data), dtype=torch.float64)
    for chosen in known.argsort(stable=True).split(BATCH):
        rows = structure[chosen]
        batch = prefixes(
            data.space_group[rows],
            data.elements[rows],
            data.positions[rows],
            known[chosen],
            order[rows],
        )
        context = model.encode(batch.space_group, batch.elements, batch.positions)
        step = torch.zeros(len(rows), dtype=torch.float64)
        log_element = model.element_logits(context, formal_masks).log_softmax(-1)
        step[batch.stop] = log_element[batch.stop, -1].double()
        row, site = batch.row.unique(
            return_inverse=True
        )  # of the remaining sites, the first is next
        following = torch.full_like(row, len(site)).scatter_reduce(
            0, site, torch.arange(len(site)), "amin"
        )
        element, position = batch.element[following], batch.position[following]
        symmetry = model.symmetry[position]
        log_symmetry = model.symmetry_logits(context, row, element, formal_masks).log_softmax(-1)
        log_enumeration = model.enumeration_logits(
            context, row, element, symmetry, formal_masks
        ).log_softmax(-1)
        place = torch.arange(len(row))
        step[row] = (
            log_element[row, element]
            + log_symmetry[place, symmetry]
            + log_enumeration[place, model.enumeration[position]]
        ).double()
        result.index_add_(0, rows, step)
    return result


def _refusal(representation) -> str | None:
    """Why a representation has no likelihood."""
    if reason := representation.invalidity():
        return reason
    unknown = sorted(set(representation.elements) - set(VOCABULARY))
    return f"the vocabulary has no {', '.join(unknown)}" if unknown else None
