"""Samples grown site after site, each as likely as the model says (paper, §3.4)."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from wyk.model import Ensemble, WyckoffTransformer, most_sites, tables

TOKENS = 16_384  # asked at once: their tensors stay in the processor's cache


@torch.no_grad()
def grow(
    model: WyckoffTransformer | Ensemble,
    group: Tensor,
    temperature: float,
    formal: bool,
    generator: torch.Generator,
    allowed: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Grow samples site by site until all have stopped.

    Args:
        model: the model.
        group: (b,) space group of each sample.
        temperature: of all three heads.
        formal: whether the model knows what its group forbids.
        generator: of everything random.
        allowed: (elements,) a sample is given up after its first site of another element; by default none is.

    Returns:
        Elements and positions, (b, sites), -1 where there is none. A sample that is not formally valid may end
        with a (site symmetry, enumeration) that its group does not have, as position
        -2 - enumerations · site symmetry - enumeration.
    """
    t, steps = tables(), most_sites(model)
    elements, positions = torch.full((2, len(group), steps), -1)
    active, state = torch.arange(len(group)), group
    for site in range(steps):
        state, order = state.sort(stable=True)  # structures that are alike so far stand together
        active = active[order]
        state = state.unique_consecutive(return_inverse=True)[1]
        before, rows = slice(max(site, 1)), max(TOKENS // (site + 1), 1)
        for row, alike in zip(active.split(rows), state.split(rows), strict=True):
            new = F.pad(alike.diff(), (1, 0), value=1) > 0
            first = row[new]  # of those alike: one encoding for all
            elements[row, site], positions[row, site] = _next_sites(
                model,
                (group[first], elements[first, before], positions[first, before]),
                new.cumsum(0) - 1,
                temperature,
                formal,
                generator,
                allowed,
            )
        element, position = elements[active, site], positions[active, site]
        going = element >= 0
        if not formal:
            taken = (positions[active, :site] == position[:, None]).any(1) & (t.dof[position] == 0)
            going &= (position >= 0) & ~taken
        if allowed is not None:
            going &= allowed[element]
        state = (state * len(model.elements) + element) * len(t.group) + position
        active, state = active[going], state[going]
        if not len(active):
            break
    return elements, positions


def _next_sites(
    model: WyckoffTransformer | Ensemble,
    known: tuple[Tensor, Tensor, Tensor],
    of: Tensor,
    temperature: float,
    formal: bool,
    generator: torch.Generator,
    allowed: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Element and position of the next site of each row (r,), -1 for STOP.

    Args:
        known: space group (u,), elements and positions (u, known) of u different contexts.
        of: (r,) which of them each row has.
    """
    n_elements = len(model.elements)
    context = model.encode(*known)
    logits = model.element_logits(context, formal)
    drawn = draw_class(logits, of, temperature, generator)
    row = (drawn < n_elements).nonzero().ravel()
    element, position = torch.full((2, len(of)), -1)
    element[row] = drawn[row]
    if allowed is not None:  # one that is given up needs no position
        row = row[allowed[drawn[row]]]

    # each distinct question once, and only where there is a choice
    question, of = (of[row] * n_elements + drawn[row]).unique(return_inverse=True)
    place, drawn = question // n_elements, question % n_elements
    if formal:
        free = context.free[place]
    else:
        free = torch.ones(len(place), *model.lookup.shape[1:], dtype=torch.bool)

    def answer(offered: Tensor, ask: Callable[[Tensor], Tensor], of: Tensor) -> Tensor:
        """One of the offered classes (q, classes) for each row (r,) of these."""
        logits = torch.zeros(offered.shape)
        choice = (offered.sum(1) > 1).nonzero().ravel()
        if len(choice):
            logits[choice] = ask(choice)
        return draw_class(logits.masked_fill(~offered, -torch.inf), of, temperature, generator)

    symmetry = answer(
        free.any(2), lambda q: model.symmetry_logits(context, place[q], drawn[q], formal), of
    )
    n_symmetries, n_enumerations = model.lookup.shape[1:]
    question, of = (of * n_symmetries + symmetry).unique(return_inverse=True)
    earlier, chosen = question // n_symmetries, question % n_symmetries
    place, drawn = place[earlier], drawn[earlier]
    enumeration = answer(
        free[earlier, chosen],
        lambda q: model.enumeration_logits(context, place[q], drawn[q], chosen[q], formal),
        of,
    )
    found = model.lookup[context.space_group[place[of]], symmetry, enumeration]
    position[row] = found.where(found >= 0, -2 - n_enumerations * symmetry - enumeration)
    return element, position


def draw_class(
    logits: Tensor,
    of: Tensor | None = None,
    temperature: float = 1.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """A class for each row of logits (u, classes), or for each of some rows (r,) of them."""
    logits = logits - logits.amax(1, keepdim=True)
    temperature = min(max(temperature, 1e-30), 1e30)  # beyond, float32 has no numbers
    cumulative = (logits / temperature).softmax(1).cumsum(1, dtype=torch.double)
    if of is not None:
        cumulative = cumulative[of]
    level = torch.rand(len(cumulative), 1, dtype=torch.double, generator=generator)
    level *= cumulative[:, -1:]  # below it: no class without probability is ever drawn
    return torch.searchsorted(cumulative, level, right=True).squeeze(1)
