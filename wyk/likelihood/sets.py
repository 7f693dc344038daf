"""Likelihood of a crystal as a set: the sum over all orders in which a model could have drawn its sites."""

import numpy as np
import torch
from torch import Tensor

from wyk.likelihood.sequences import log_p
from wyk.model import Encoded, WyckoffTransformer, site_order

ORDERS = 24  # looked at for each structure: all there are of four sites


def log_orders(data: Encoded) -> Tensor:
    """Log of the number of distinct orders of each structure (n,): sites that are alike are not told apart."""
    keys = site_order(data.elements, data.positions, "canonical")
    keys = keys.masked_fill(data.elements < 0, torch.inf).sort(1).values
    # the k-th of m like sites: the product of these k is m!
    same = (keys[:, :, None] == keys[:, None, :]).tril().sum(2).double()
    same = same.masked_fill(keys.isinf(), 1)
    return torch.lgamma(data.length.double() + 1) - same.log().sum(1)


def set_log_p(
    model: WyckoffTransformer, data: Encoded, formal_masks: bool, seed: int
) -> tuple[Tensor, Tensor, Tensor]:
    """log p of structures as sets, p(set) = Σ p(order) over distinct orders.

    The canonical order is taken as it is, other distinct ones are drawn without repetition and stand for all
    the others. That is exact where there are no more than ORDERS, and elsewhere an unbiased estimate of p(set),
    so that its logarithm is on average below log p(set).

    Args:
        model: the model.
        data: n structures.
        formal_masks: as in `WyckoffTransformer`.
        seed: of the orders.

    Returns:
        log p of the canonical order (n,), log p of the set (n,), and whether that is exact (n,).
    """
    order, several = _orders(data, seed)
    log, _ = log_p(model, data, order, formal_masks)
    canonical, others = log[:, 0], log[:, 1:].masked_fill(~several[:, 1:], -torch.inf)
    count = log_orders(data)
    drawn = several.sum(1).double()
    rest = count + torch.log1p(-(-count).exp()) - (drawn - 1).log()  # each stands for so many
    rest = rest.where(drawn > 1, 0)
    return (
        canonical,
        torch.logaddexp(canonical, others.logsumexp(1) + rest),
        drawn.log() >= count - 1e-9,
    )


def _orders(data: Encoded, seed: int) -> tuple[Tensor, Tensor]:
    """Sort keys of ORDERS distinct orders (n, ORDERS, sites), the canonical one first, and which there are."""
    rng = np.random.default_rng(seed)
    counts = log_orders(data).exp().round().clamp(max=ORDERS).long().tolist()
    keys = site_order(data.elements, data.positions, "canonical")
    order = torch.zeros(len(data), ORDERS, keys.shape[1])
    there = torch.arange(ORDERS) < torch.tensor(counts)[:, None]
    for row, (n, count) in enumerate(zip(data.length.tolist(), counts, strict=True)):
        names = keys[row, :n].numpy()
        first = names.argsort(kind="stable")
        found = {names[first].tobytes(): first}
        while len(found) < count:
            chosen = rng.permutation(n)
            found.setdefault(names[chosen].tobytes(), chosen)
        sites = torch.from_numpy(np.stack(list(found.values())))
        order[row, : len(found), :n].scatter_(1, sites, torch.arange(n).float().expand(sites.shape))
        order[row, len(found) :] = order[row, 0]
    return order, there
