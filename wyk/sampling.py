"""Sampling of Wyckoff representations, site after site (paper, §3.4)."""

from collections.abc import Callable, Collection
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from wyk.conditions import (
    Conditions,
    GivenError,
    Starts,
    from_groups,
    from_representations,
    most_sites,
    obstacles,
    outlook,
)
from wyk.ensemble import Ensemble
from wyk.model import WyckoffTransformer
from wyk.paths import writing
from wyk.representation import WyckoffRepresentation
from wyk.spacegroups import space_group
from wyk.tables import COLUMNS, to_table, write_representations
from wyk.tokenization import tables

BATCH = 16384  # samples grown side by side: the few that go on for long seldom run alone
TOKENS = 16_384  # asked at once: their tensors stay in the processor's cache


def sample(
    model: WyckoffTransformer | Ensemble,
    n: int,
    temperature: float = 1.0,
    seed: int = 0,
    space_groups: Collection[int] | None = None,
    elements: Collection[str] | None = None,
    required: Collection[str] | None = None,
    max_atoms: int | None = None,
    max_sites: int | None = None,
    given: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """New Wyckoff representations from a trained model.

    Args:
        model: a trained model, as `checkpoint.load` gives it.
        n: how many.
        temperature: divides the logits of all three heads; 1 is the model's own distribution.
        seed: of everything random; the same seed gives the same rows.
        space_groups: draw groups uniformly from these, repetitions counted; by default as often as they occur
            in train and validation (§3.4), without those that cannot meet the conditions.
        elements: no others than these; by default all.
        required: all of these.
        max_atoms: at most so many in the primitive cell.
        max_sites: at most so many occupied positions.
        given: representations to be completed: sample i has the space group and the sites, if any, of row i
            modulo their number, and those that the model adds; it may find that nothing is missing.

    Returns:
        A table of representations, every one of them formally valid; `material_id` is "0" to n - 1.

    Raises:
        GivenError: naming a row of `given` that is invalid or at odds with the other conditions.
        ValueError: for a temperature that is not positive, a space group there is not, an element the model
            does not know, or conditions that cannot be met; group and condition are named.
    """
    if given is not None and space_groups is not None:
        raise ValueError("the representations to complete have space groups of their own")
    _check(temperature)
    wanted = Conditions.of(model, elements, required, max_atoms, max_sites)
    generator = torch.Generator().manual_seed(seed)
    if given is not None:
        starts = from_representations(model, given)
        for obstacle in obstacles(model, starts, wanted).values():
            raise GivenError(obstacle)
        chosen = torch.arange(n) % len(starts.names)
    else:
        starts, weights = from_groups(model, space_groups)
        impossible = obstacles(model, starts, wanted)
        if impossible and (space_groups is not None or len(impossible) == len(weights)):
            raise ValueError("; ".join(list(impossible.values())[:3]))
        weights[list(impossible)] = 0
        chosen = torch.multinomial(weights, n, replacement=True, generator=generator)
    return _table(model, *_grow_all(model, starts, chosen, temperature, wanted, generator))


def sample_unconstrained(
    model: WyckoffTransformer | Ensemble,
    n: int,
    temperature: float = 1.0,
    seed: int = 0,
    space_groups: Collection[int] | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Samples as the paper draws them, ignorant of what the tables forbid: some are formally invalid.

    A sample ends where it becomes invalid: with a position that its group does not have, or a fixed one that is
    taken already. One without any site is invalid, too.

    Args:
        model, n, temperature, seed, space_groups: as in `sample`.

    Returns:
        The formally valid samples as `sample` gives them, and the others with a column `reason`; `material_id`
        runs from "0" to n - 1 through both. The valid share of n is the paper's formal validity.

    Raises:
        ValueError: for a temperature that is not positive, or a space group there is not.
    """
    _check(temperature)
    generator = torch.Generator().manual_seed(seed)
    starts, weights = from_groups(model, space_groups)
    chosen = torch.multinomial(weights, n, replacement=True, generator=generator)
    grown = _grow_all(model, starts, chosen, temperature, None, generator)
    representations = _representations(model, *grown)
    table = to_table(representations, reason=[r.invalidity() for r in representations])
    valid = table["reason"].isna()
    return table[valid].drop(columns="reason"), table[~valid]


def write(out: str | Path, table: pd.DataFrame, rejected: pd.DataFrame | None = None) -> None:
    """Write samples as Parquet, and those that are formally invalid, if any, to `OUT.rejected.csv` beside it."""
    sidecar = Path(out).with_suffix(".rejected.csv")
    with writing(out) as temporary:
        write_representations(temporary, table)
        if rejected is None or rejected.empty:
            sidecar.unlink(missing_ok=True)
        else:
            lists = rejected[["elements", "wyckoff_letters"]].map(" ".join)
            columns = rejected[["material_id", "space_group", "reason"]].join(lists)
            with writing(sidecar) as file:
                columns.to_csv(file, index=False)


def _check(temperature: float) -> None:
    if not 0 < temperature < float("inf"):
        raise ValueError(f"temperature {temperature}: must be above 0 and finite")


def _grow_all(
    model: WyckoffTransformer,
    starts: Starts,
    chosen: Tensor,
    temperature: float,
    conditions: Conditions | None,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Space group and number of sites of each sample (n,), element and position of each site (sites,)."""
    parts = []
    with tqdm(total=len(chosen), desc="sample", disable=None) as progress:
        for part in chosen.split(BATCH):
            elements, positions = grow(model, starts, part, temperature, conditions, generator)
            there = elements >= 0
            parts.append((there.sum(1), elements[there], positions[there]))
            progress.update(len(part))
    return starts.space_group[chosen], *map(torch.cat, zip(*parts, strict=True))


@torch.no_grad()
def grow(
    model: WyckoffTransformer,
    starts: Starts,
    chosen: Tensor,
    temperature: float,
    conditions: Conditions | None,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Grow samples site by site until all have stopped.

    Args:
        model: the model.
        starts: what samples may start from; all can meet the conditions.
        chosen: (b,) the start of each sample.
        temperature: of all three heads.
        conditions: what every sample must fulfil; None for nothing, not even formal validity.
        generator: of everything random.

    Returns:
        Elements and positions, (b, sites), -1 where there is none. A sample without conditions may end with a
        (site symmetry, enumeration) that its group does not have, as position
        -2 - enumerations · site symmetry - enumeration.
    """
    t, known = tables(), starts.elements.shape[1]
    steps = most_sites(model) if conditions is None else conditions.steps
    group = starts.space_group[chosen]
    elements = F.pad(starts.elements[chosen], (0, steps), value=-1)
    positions = F.pad(starts.positions[chosen], (0, steps), value=-1)
    active, state = torch.arange(len(chosen)), chosen
    for site in range(known, known + steps):
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
                conditions,
                known + steps - site,
                generator,
            )
        element, position = elements[active, site], positions[active, site]
        going = element >= 0
        if conditions is None:
            taken = (positions[active, :site] == position[:, None]).any(1) & (t.dof[position] == 0)
            going &= (position >= 0) & ~taken
        state = (state * len(model.elements) + element) * len(t.group) + position
        active, state = active[going], state[going]
        if not len(active):
            break
    return elements, positions


def _next_sites(
    model: WyckoffTransformer,
    known: tuple[Tensor, Tensor, Tensor],
    of: Tensor,
    temperature: float,
    conditions: Conditions | None,
    steps: int,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Element and position of the next site of each row (r,), -1 for STOP.

    Args:
        known: space group (u,), elements and positions (u, known) of u different contexts.
        of: (r,) which of them each row has.
        steps: how many sites may be added yet.
    """
    formal, n_elements = conditions is not None, len(model.elements)
    context = model.encode(*known)
    logits = model.element_logits(context, formal)
    if formal:
        ahead = outlook(context, known[2], conditions, steps)
        offered = conditions.allowed & (ahead.fits(ahead.short + 1)[:, None] | ahead.lacking)
        logits[:, :-1].masked_fill_(~offered, -torch.inf)
        logits[:, -1].masked_fill_(ahead.short > 0, -torch.inf)
    drawn = _draw(logits, temperature, generator, of)
    row = (drawn < n_elements).nonzero().ravel()
    element, position = torch.full((2, len(of)), -1)
    element[row] = drawn[row]

    # each distinct question once, and only where there is a choice
    question, of = (of[row] * n_elements + drawn[row]).unique(return_inverse=True)
    place, drawn = question // n_elements, question % n_elements
    if formal:
        free = context.free[place]
        if conditions.max_atoms is not None:
            others = ahead.short[place] - ahead.lacking[place, drawn].long()
            spare = ahead.atoms[place] - ahead.least[place, others]
            atoms = tables().multiplicity[model.lookup[context.space_group[place]]]
            free &= atoms <= spare[:, None, None]
    else:
        free = torch.ones(len(place), *model.lookup.shape[1:], dtype=torch.bool)

    def answer(offered: Tensor, ask: Callable[[Tensor], Tensor], of: Tensor) -> Tensor:
        """One of the offered classes (q, classes) for each row (r,) of these."""
        logits = torch.zeros(offered.shape)
        choice = (offered.sum(1) > 1).nonzero().ravel()
        if len(choice):
            logits[choice] = ask(choice)
        return _draw(logits.masked_fill(~offered, -torch.inf), temperature, generator, of)

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


def _draw(
    logits: Tensor, temperature: float, generator: torch.Generator, of: Tensor | None = None
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


def _table(
    model: WyckoffTransformer, group: Tensor, sites: Tensor, element: Tensor, position: Tensor
) -> pd.DataFrame:
    """What `to_table` makes of valid samples, without objects in between, which take a fifth of the time."""
    t, ends = tables(), sites.cumsum(0).tolist()
    starts = [0, *ends[:-1]]
    letters = [p.letter for number in range(1, 231) for p in space_group(number).positions]
    symbols = [t.symmetries[i] for i in t.symmetry.tolist()]
    values = (
        np.array(model.elements, object)[element],
        *(np.array(column, object)[position] for column in (letters, symbols)),
        *(column[position] for column in (t.enumeration, t.multiplicity, t.dof)),
    )
    columns = {"material_id": [str(i) for i in range(len(ends))], "space_group": group.numpy()}
    for name, value in zip(COLUMNS[2:], values, strict=True):
        flat = value.tolist()
        columns[name] = [flat[a:b] for a, b in zip(starts, ends, strict=True)]
    return pd.DataFrame(columns)


def _representations(
    model: WyckoffTransformer, group: Tensor, sites: Tensor, element: Tensor, position: Tensor
) -> list[WyckoffRepresentation]:
    """Samples, valid or not."""
    t, result = tables(), []
    width = t.lookup.shape[2]
    for number, elements, positions in zip(
        group.tolist(), element.split(sites.tolist()), position.split(sites.tolist()), strict=True
    ):
        letters = []
        for place in positions.tolist():
            if place >= 0:
                letters.append(space_group(number).letters[place - int(t.offset[number])])
            else:
                symmetry, enumeration = divmod(-2 - place, width)
                letters.append(f"({t.symmetries[symmetry]}, {enumeration})")
        symbols = tuple(model.elements[e] for e in elements.tolist())
        result.append(WyckoffRepresentation(number, symbols, tuple(letters)))
    return result
