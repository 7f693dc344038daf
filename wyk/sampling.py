"""Sampling of Wyckoff representations, site after site (paper, §3.4)."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from wyk import checkpoint
from wyk.model import WyckoffTransformer
from wyk.representation import to_table
from wyk.spacegroups import space_group as lookup_group
from wyk.tokenization import decode, tables

BATCH = 2048  # structures grown at once
ROUNDS = 3  # batches without a single success before a condition counts as impossible


@dataclass(frozen=True)
class Conditions:
    """What samples must fulfil, as masks.

    Attributes:
        allowed, required: (elements,) which elements a sample may have, and which it must have.
        max_atoms: of the primitive cell; None for any number.
    """

    allowed: Tensor
    required: Tensor
    max_atoms: int | None = None


def sample(
    model_dir: str | Path,
    n: int,
    temperature: float = 1.0,
    seed: int = 0,
    space_groups: Collection[int] | None = None,
    elements: Collection[str] | None = None,
    required: Collection[str] = (),
    max_atoms: int | None = None,
) -> pd.DataFrame:
    """New Wyckoff representations from a trained model.

    Args:
        model_dir: folder of the model.
        n: how many.
        temperature: divides the logits of all three heads; 1 is the model's own distribution.
        seed: of everything random; the same seed gives the same rows.
        space_groups: draw groups uniformly from these, repetitions counted; by default as often as they occur
            in train and validation (§3.4).
        elements: no others than these; by default all.
        required: all of these.
        max_atoms: at most so many in the primitive cell.

    Returns:
        A table of representations, every one of them formally valid; `material_id` is "0" to n - 1.

    Raises:
        ValueError: for a temperature that is not positive, a space group or element the model does not know, or
            conditions that cannot be met.
    """
    if not 0 < temperature < float("inf"):
        raise ValueError(f"temperature {temperature}: must be above 0 and finite")
    model = checkpoint.load(model_dir)
    conditions = Conditions(
        _mask(model, model.elements if elements is None else elements),
        _mask(model, required or ()),
        max_atoms,
    )
    if outside := sorted(set(required or ()) - set(elements or model.elements)):
        raise ValueError(f"required but not allowed: {', '.join(outside)}")
    generator = torch.Generator().manual_seed(seed)
    if space_groups is None:
        counts = model.config["space_group_counts"]
        groups = torch.tensor([int(number) for number in counts])
        weights = torch.tensor([float(count) for count in counts.values()])
    else:
        if wrong := [number for number in space_groups if not 1 <= number <= 230]:
            raise ValueError(f"there is no space group {wrong[0]}: numbers run from 1 to 230")
        groups = torch.tensor(list(space_groups))
        weights = torch.ones(len(groups))
    chosen = groups[torch.multinomial(weights, n, replacement=True, generator=generator)]
    result = []
    with tqdm(total=n, desc="sample", disable=None) as progress:
        for part in chosen.split(BATCH):
            rows = _grow_all(model, part, temperature, conditions, generator)
            result += decode(part, *rows, model.elements)
            progress.update(len(part))
    return to_table(result)


def _mask(model: WyckoffTransformer, elements: Collection[str]) -> Tensor:
    if unknown := sorted(set(elements) - set(model.elements)):
        raise ValueError(f"the model's vocabulary has no {', '.join(unknown)}")
    return torch.tensor([symbol in set(elements) for symbol in model.elements])


def _grow_all(
    model: WyckoffTransformer,
    space_group: Tensor,
    temperature: float,
    conditions: Conditions,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Grow structures, again and again those that ran into a dead end."""
    elements, positions = grow(model, space_group, temperature, conditions, generator)
    rounds = 0
    while len(failed := (elements[:, 0] < 0).nonzero().ravel()):
        if rounds == ROUNDS:
            numbers = ", ".join(str(number) for number in space_group[failed].unique().tolist())
            raise ValueError(
                f"no sample of space group {numbers} met the conditions in {ROUNDS * BATCH} attempts: "
                "allow more elements or atoms, or other groups"
            )
        again = failed.repeat(max(1, BATCH // len(failed)))
        new = grow(model, space_group[again], temperature, conditions, generator)
        good = (new[0][:, 0] >= 0).nonzero().ravel()
        rows, first = np.unique(again[good].numpy(), return_index=True)
        elements[rows], positions[rows] = (tensor[good[first]] for tensor in new)
        rounds = 0 if len(rows) else rounds + 1
    return elements, positions


@torch.no_grad()
def grow(
    model: WyckoffTransformer,
    space_group: Tensor,
    temperature: float,
    conditions: Conditions,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Grow structures site by site until all have stopped.

    Args:
        model: the model.
        space_group: (b,) numbers.
        temperature: of all three heads.
        conditions: what every structure must fulfil.
        generator: of everything random.

    Returns:
        Elements and positions, (b, sites), -1 beyond the last site of each; a row without any site ran into a
        dead end, where the conditions left neither another site nor STOP.
    """
    limit = 2 * model.config["most_sites"]  # hot samples could go on for ever
    t, stop = tables(), len(model.elements)
    elements = torch.full((len(space_group), limit), -1)
    positions = torch.full((len(space_group), limit), -1)
    active = torch.arange(len(space_group))
    room = _room(space_group, conditions.max_atoms)
    for site in range(limit):
        known = slice(max(site, 1))
        context = model.encode(
            space_group[active], elements[active, known], positions[active, known]
        )
        place = t.lookup[space_group[active]]
        context.free &= t.multiplicity[place] <= room[active, None, None]
        logits = model.element_logits(context)
        logits[:, :stop].masked_fill_(~conditions.allowed, -torch.inf)
        logits[~context.free.any((1, 2)), :stop] = -torch.inf
        lacking = (conditions.required & (context.presence == 0)).any(1)
        logits[:, stop].masked_fill_(lacking, -torch.inf)
        dead = logits.isneginf().all(1)
        elements[active[dead]] = -1
        element = _draw(logits, temperature, generator)
        row = ((element < stop) & ~dead).nonzero().ravel()
        if not len(row):
            break
        element = element[row]
        symmetry = _draw(model.symmetry_logits(context, row, element), temperature, generator)
        enumeration = _draw(
            model.enumeration_logits(context, row, element, symmetry), temperature, generator
        )
        active = active[row]
        elements[active, site] = element
        positions[active, site] = place[row, symmetry, enumeration]
        room[active] -= t.multiplicity[positions[active, site]]
    return elements, positions


def _room(space_group: Tensor, max_atoms: int | None) -> Tensor:
    """Atoms that the conventional cell of each group may hold, (b,)."""
    if max_atoms is None:
        return torch.full(space_group.shape, torch.iinfo(torch.long).max // 2)
    points = torch.tensor([lookup_group(g).lattice_points for g in space_group.tolist()])
    return max_atoms * points


def _draw(logits: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
    """One class of each row of logits (b, classes), by the Gumbel trick: log p + noise, the largest wins."""
    noise = -torch.empty_like(logits).exponential_(generator=generator).log()
    return (logits / temperature + noise).argmax(-1)
