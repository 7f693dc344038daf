"""What training minimises: -log p of all that may come next, after every number of known sites (paper, §3.3)."""

from collections.abc import Iterator

import torch
from torch import Tensor

from wyk.model import Encoded, Prefixes, WyckoffTransformer, prefixes, site_order
from wyk.plumbing import Train

PARTS = ("element", "symmetry", "enumeration")
BUCKET = 16  # batches sorted together by prefix length, so that little of a batch is padding


def loss(
    model: WyckoffTransformer,
    batch: Prefixes,
    formal_masks: bool = True,
    parts: tuple[str, ...] = PARTS,
) -> Tensor:
    """Mean over prefixes of the expected -log p of what comes next, nats.

    Summed over the prefixes of a structure this is the exact expectation, over the order of what remains, of
    -log p of each step of formula (2).

    Args:
        model: the model.
        batch: prefixes and what remains of their structures.
        formal_masks: whether what the group forbids has probability 0.
        parts: of the next token, those that are asked for; STOP counts as an element.
    """
    context = model.encode(batch.space_group, batch.elements, batch.positions)
    device, n = batch.stop.device, len(batch.stop)
    no_element, no_symmetry = len(model.elements), model.lookup.shape[1]  # MASK
    symmetry = model.symmetry[batch.position]
    # sites of a prefix that ask the same question share one query
    question = batch.row * no_element + batch.element
    query, site_query = question.unique(return_inverse=True)
    row, element = query // no_element, query % no_element
    # where the group leaves no choice the probability is 1
    choice = torch.ones_like(question, dtype=torch.bool)
    if formal_masks:
        choice = context.free[batch.row, symmetry].sum(-1) > 1
    query, choice_query = (question * no_symmetry + symmetry)[choice].unique(return_inverse=True)
    last_row, last_element = (
        query // no_symmetry // no_element,
        query // no_symmetry % no_element,
    )
    last_symmetry = query % no_symmetry

    total = torch.zeros((), device=device)
    questions = {
        "element": (
            torch.arange(n, device=device),
            torch.full((n,), no_element, device=device),
            torch.full((n,), no_symmetry, device=device),
        ),
        "symmetry": (row, element, torch.full_like(row, no_symmetry)),
        "enumeration": (last_row, last_element, last_symmetry),
    }
    asked = [questions[part] for part in parts]
    answers = model.ask(context, *map(torch.cat, zip(*asked, strict=True)))
    answers = dict(zip(parts, answers.split([len(rows) for rows, *_ in asked]), strict=True))
    if "element" in parts:
        log_p = model.element_logits(context, formal_masks, answers["element"]).log_softmax(-1)
        total = total - log_p[batch.stop, -1].sum()
        total = total - (log_p[batch.row, batch.element] * batch.weight).sum()
    if "symmetry" in parts:
        log_p = model.symmetry_logits(
            context, row, element, formal_masks, answers["symmetry"]
        ).log_softmax(-1)
        total = total - (log_p[site_query, symmetry] * batch.weight).sum()
    if "enumeration" in parts:
        log_p = model.enumeration_logits(
            context, last_row, last_element, last_symmetry, formal_masks, answers["enumeration"]
        ).log_softmax(-1)
        enumeration = model.enumeration[batch.position[choice]]
        total = total - (log_p[choice_query, enumeration] * batch.weight[choice]).sum()
    return total / n


def pairs(length: Tensor) -> tuple[Tensor, Tensor]:
    """Each structure, of so many sites (n,), with every number of known sites, 0 to all: two tensors (pairs,)."""
    structure = torch.arange(len(length)).repeat_interleave(length + 1)
    first = (length + 1).cumsum(0) - length - 1
    return structure, torch.arange(len(structure)) - first[structure]


def steps(length: Tensor, size: int, targets: str) -> int:
    """Steps of an epoch of `batches`."""
    return -(-(len(length) if targets == "one" else int((length + 1).sum())) // size)


def batches(
    length: Tensor, size: int, targets: str
) -> Iterator[tuple[Tensor, Tensor, tuple[str, ...]]]:
    """The steps of an epoch: structures (b,), how many sites of each are known (b,), and the parts asked for.

    With all targets each pair of structure and prefix length comes once, in batches of similar length. With one
    target each structure comes once, and a batch has one random prefix length and asks for one random part, as
    the authors' code does it; structures that are shorter give nothing.
    """
    if targets == "all":
        structure, known = pairs(length)
        chosen = []
        for bucket in torch.randperm(len(known)).split(size * BUCKET):
            chosen += bucket[known[bucket].argsort(stable=True)].split(size)
        for i in torch.randperm(len(chosen)).tolist():
            yield structure[chosen[i]], known[chosen[i]], PARTS
        return
    for rows in torch.randperm(len(length)).split(size):
        part = PARTS[int(torch.randint(len(PARTS), ()))]
        longest = int(length[rows].max())
        known = int(torch.randint(longest + (part == "element"), ()))
        rows = rows[length[rows] >= known + (part != "element")]  # nothing follows STOP
        yield rows, torch.full_like(rows, known), (part,)


@torch.no_grad()
def validate(
    model: WyckoffTransformer, data: Encoded, settings: Train, seed: int, batch: int = 4096
) -> float:
    """-log p per structure, nats, one random prefix of each length for each structure, the same in every call."""
    device = model.symmetry.device
    structure, known = pairs(data.length)
    total = 0.0
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for chosen in known.argsort(stable=True).split(batch):
            rows = structure[chosen]
            sites = data.elements[rows], data.positions[rows]
            part = prefixes(
                data.space_group[rows], *sites, known[chosen], site_order(*sites, settings.order)
            )
            if settings.order == "canonical":
                part = part.next_only()
            total += loss(model, part.to(device), settings.formal_masks).item() * len(chosen)
    return total / len(data)
