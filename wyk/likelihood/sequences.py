"""Log-likelihood of sets of Wyckoff positions, in a given order and in random ones (paper, Appendix D).

The network does not see the order of the known sites, so two orders, or two crystals, that know the same sites of
the same group have the same context. Each distinct context is encoded once, each distinct question asked once.
(A network with causal attention does see the order: there, contexts are the same if their order is.)
"""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from wyk.common import ELEMENTS
from wyk.crystals import WyckoffRepresentation, from_table
from wyk.model import Context, Encoded, Ensemble, WyckoffTransformer, encode, most_sites, tables

STEPS = 1_000_000  # (structure, order, known sites) looked at together: about 200 MB
TOKENS = 16_384  # encoded at once: what a processor's cache holds


def likelihood(
    model: WyckoffTransformer | Ensemble,
    frame: pd.DataFrame,
    permutations: int = 20,
    seed: int = 0,
    formal_masks: bool = True,
    temperature: float = 1.0,
) -> pd.DataFrame:
    """Likelihoods of representations under a model, in nats.

    Args:
        model: a trained model, as `checkpoint.load` gives it.
        frame: (n) representations; the order of the sites of a row is its given order.
        permutations: random orders of each row.
        seed: of the orders.
        formal_masks: whether the model knows which positions are impossible.
        temperature: divides the logits of all heads, as in sampling.

    Returns:
        One row each: `material_id`, `n_sites`; `log_p` (given order, formula (2)), `log_p_mean` and `log_p_std`
        (mean and standard deviation over the random orders); `expected` and `expected_mean` (the −log p that the
        model itself expects on its way, see `log_p`, in the given order and over the random ones); `uniform` (−log p
        if every class of every head were equally likely); `reason`, null or why the row has no likelihood.

    Raises:
        ValueError: for a temperature that is not positive.
    """
    if not 0 < temperature < float("inf"):
        raise ValueError(f"temperature {temperature}: must be above 0 and finite")
    representations = from_table(frame)
    reasons = [_refusal(r, model.elements) for r in representations]
    good = np.array([reason is None for reason in reasons], bool)
    data = encode([r for r, ok in zip(representations, good, strict=True) if ok], model.elements)
    generator = torch.Generator().manual_seed(seed)
    given = torch.arange(data.elements.shape[1]).expand_as(data.elements).float()
    random = [torch.rand(data.elements.shape, generator=generator) for _ in range(permutations)]
    order = torch.stack([given, *random], 1)
    log, expected = log_p(
        model, data, order, formal_masks, temperature, most_sites(model), progress=True
    )
    result = pd.DataFrame(
        {
            "material_id": frame["material_id"].to_numpy(),
            "n_sites": [len(r.letters) for r in representations],
        }
    )
    for column, values in (
        ("log_p", log[:, 0]),
        ("log_p_mean", log[:, 1:].mean(1)),
        ("log_p_std", log[:, 1:].std(1, correction=0)),
        ("expected", expected[:, 0]),
        ("expected_mean", expected[:, 1:].mean(1)),
        ("uniform", _uniform(model, data.length)),
    ):
        result[column] = np.nan
        result.loc[good, column] = values.numpy()
    return result.assign(reason=reasons)


def log_p(
    model: WyckoffTransformer | Ensemble,
    data: Encoded,
    order: Tensor,
    formal_masks: bool = True,
    temperature: float = 1.0,
    longest: int | None = None,
    progress: bool = False,
) -> tuple[Tensor, Tensor]:
    """log p of each structure with its sites in each of k orders; formula (2) of Appendix D.

    The sum over the sites of log p(element) + log p(site symmetry | element) + log p(enumeration | both), each
    given the sites before, and log p(STOP) after the last one.

    Args:
        model: the model.
        data: n structures.
        order: (n, k, sites) sort keys of the sites.
        formal_masks: as in `WyckoffTransformer`.
        temperature: divides all logits.
        longest: after how many sites STOP is certain; None for any number.
        progress: whether to show a bar.

    Returns:
        log p (n, k), nats; and what the model expects of −log p, (n, k): the entropies of all distributions met
        on the way, summed. Over the model's own samples, and over data it is calibrated on, both agree on average.
    """
    log, expected = (torch.zeros(order.shape[:2], dtype=torch.float64) for _ in range(2))
    by_length = data.length.argsort(stable=True)
    steps = (order.shape[1] * (data.length + 1))[by_length]
    with tqdm(total=len(data), desc="likelihood", disable=None if progress else True) as bar:
        for part in by_length.split(_sizes(steps, STEPS)):
            log[part], expected[part] = _part(
                model, data, part, order[part], formal_masks, temperature, longest
            )
            bar.update(len(part))
    return log, expected


@torch.no_grad()
def _part(
    model: WyckoffTransformer | Ensemble,
    data: Encoded,
    part: Tensor,
    order: Tensor,
    formal_masks: bool,
    temperature: float,
    longest: int | None,
) -> tuple[Tensor, Tensor]:
    """`log_p` of some structures (p,) with all their steps at once; order (p, k, sites)."""
    space_group, length = data.space_group[part], data.length[part]
    order = order.masked_fill(data.elements[part][:, None] < 0, torch.inf).argsort(2)
    order = order[..., : length.max()]
    elements, positions = (  # (p, k, sites), as they come
        whole[part][:, None].expand(-1, order.shape[1], -1).gather(2, order)
        for whole in (data.elements, data.positions)
    )
    elements, positions = (F.pad(x, (0, 1), value=-1) for x in (elements, positions))

    # A step is a structure p, an order k, and how many sites are known; from 0 to all, where STOP is a question.
    places = torch.arange(elements.shape[2])
    last = length if longest is None else length - (length == longest).long()
    p, k, known = (places <= last[:, None, None]).expand(elements.shape).nonzero(as_tuple=True)
    names = _names(space_group, elements, positions, model.settings.attention == "causal")
    context, step = _distinct(names[p, k, known])
    by_known = known[step].argsort(stable=True)  # so that a batch needs little padding
    context, step = by_known.argsort()[context], step[by_known]

    # Its answer is what comes next: STOP, or an element on a position of the group.
    element, position = elements[p, k, known], positions[p, k, known]
    kinds = (element + 1) * len(model.symmetry) + position.clamp(min=0)
    answer, first = _distinct(context * kinds.max().add(1) + kinds)  # sorted by context

    log, expected = (torch.zeros(len(first), dtype=torch.float64) for _ in range(2))
    begin = 0
    for rows in step.split(_sizes(1 + known[step], TOKENS)):
        widest = max(1, int(known[rows].max()))  # torch cannot attend to a lone token under a mask
        hidden = places[:widest] >= known[rows, None]
        encoded = model.encode(
            space_group[p[rows]],
            elements[p[rows], k[rows], :widest].masked_fill(hidden, -1),
            positions[p[rows], k[rows], :widest].masked_fill(hidden, -1),
        )
        bounds = torch.tensor([begin, begin + len(rows)])
        asked = slice(*torch.searchsorted(context[first], bounds).tolist())
        at = first[asked]
        next_one = (context[at] - begin, element[at], position[at])
        log[asked], expected[asked] = _answers(model, encoded, *next_one, formal_masks, temperature)
        begin += len(rows)
    walk = p * order.shape[1] + k
    return tuple(
        torch.zeros(order.shape[0] * order.shape[1], dtype=torch.float64)
        .index_add_(0, walk, values[answer])
        .reshape(order.shape[:2])
        for values in (log, expected)
    )


def _answers(
    model: WyckoffTransformer | Ensemble,
    context: Context,
    row: Tensor,
    element: Tensor,
    position: Tensor,
    formal_masks: bool,
    temperature: float,
) -> tuple[Tensor, Tensor]:
    """log p of answers (a,) and the entropies of the distributions they are drawn from, in nats.

    Args:
        model: the model.
        context: what is known.
        row: (a,) sorted, the context of each answer; every context has one.
        element, position: (a,) the answers, -1 for STOP.
        formal_masks, temperature: as in `log_p`.
    """
    log, expected = (torch.zeros(len(row), dtype=torch.float64) for _ in range(2))
    symmetry, enumeration = model.symmetry[position], model.enumeration[position]
    site = element >= 0
    of_symmetry = row * len(model.elements) + element
    of_enumeration = of_symmetry * len(model.symmetry) + symmetry

    def add(question, chosen, open, logits):
        """A choice, its distribution asked once for each question (a,), where it is open (a,)."""
        at = open.nonzero().ravel()
        inverse, first = _distinct(question[at])
        log_p = (logits(at[first]) / temperature).log_softmax(-1)
        log[at] += log_p[inverse, chosen[at]]
        expected[at] += torch.special.entr(log_p.exp()).sum(-1)[inverse]

    add(
        row,
        element.where(site, len(model.elements)),
        torch.ones_like(site),
        lambda i: model.element_logits(context, formal_masks),
    )
    # With the masks, the only site symmetry of a group, or its only free enumeration, is certain.
    free = context.free[row]
    several = free.any(2).sum(1) > 1 if formal_masks else site
    add(
        of_symmetry,
        symmetry,
        site & several,
        lambda i: model.symmetry_logits(context, row[i], element[i], formal_masks),
    )
    several = free[torch.arange(len(row)), symmetry].sum(1) > 1 if formal_masks else site
    add(
        of_enumeration,
        enumeration,
        site & several,
        lambda i: model.enumeration_logits(context, row[i], element[i], symmetry[i], formal_masks),
    )
    return log, expected


def _names(space_group: Tensor, elements: Tensor, positions: Tensor, ordered: bool) -> Tensor:
    """Names (p, k, 1 + sites) of the first 0, 1, 2 … sites, equal for equal sets of sites of equal groups.

    A name is the sum of a random 64-bit number of the group and one of each site: it does not depend on their
    order, and among a million different sets the chance that any two share their name is 3e-8.

    Args:
        space_group: (p,) numbers.
        elements, positions: (p, k, 1 + sites) in their order.
        ordered: whether the same sites in another order get another name.
    """
    generator = torch.Generator().manual_seed(0)
    limits, n_positions = torch.iinfo(torch.long), len(tables().symmetry)
    size = 231 + len(ELEMENTS) * n_positions + elements.shape[2]
    numbers = torch.randint(limits.min, limits.max, (size,), generator=generator)
    of_site = numbers[231 + (elements * n_positions + positions).clamp(min=0)]
    if ordered:
        of_site *= numbers[-elements.shape[2] :] | 1  # of the place; odd ones lose no bit
    of_site = of_site.roll(1, 2)
    of_site[..., 0] = numbers[space_group][:, None]
    return of_site.cumsum(2)


def _distinct(names: Tensor) -> tuple[Tensor, Tensor]:
    """Which distinct name each of n names is, (n,), and where each of d distinct ones, sorted, stands first, (d,)."""
    distinct, inverse = names.unique(return_inverse=True)
    first = torch.full_like(distinct, len(names))
    return inverse, first.scatter_reduce_(0, inverse, torch.arange(len(names)), "amin")


def _sizes(costs: Tensor, limit: int) -> list[int]:
    """Lengths of the pieces that items fall into when each may cost about `limit`."""
    return (costs.cumsum(0) // limit).unique_consecutive(return_counts=True)[1].tolist()


def _uniform(model: WyckoffTransformer | Ensemble, length: Tensor) -> Tensor:
    """−log p (n,) of structures of so many sites (n,) if all classes of a head were equally likely, nats."""
    element, symmetry, enumeration = (
        math.log(n) for n in (len(model.elements) + 1, *model.lookup.shape[1:])
    )
    return length.double() * (element + symmetry + enumeration) + element


def _refusal(representation: WyckoffRepresentation, elements: Sequence[str]) -> str | None:
    """Why a representation has no likelihood."""
    if reason := representation.invalidity():
        return reason
    unknown = sorted(set(representation.elements) - set(elements))
    return f"the vocabulary has no {', '.join(unknown)}" if unknown else None
