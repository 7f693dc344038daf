"""Sampling of Wyckoff representations (paper, §3.4), free or under conditions."""

import logging
from collections.abc import Callable, Collection, Mapping
from functools import partial

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from wyk.crystals import COLUMNS, VOCABULARY, WyckoffRepresentation, space_group, to_table
from wyk.model import Ensemble, WyckoffTransformer, decode, tables
from wyk.sampling import particles
from wyk.sampling.conditions import Conditions
from wyk.sampling.growth import grow
from wyk.sampling.outlook import obstacles
from wyk.sampling.starts import GivenError, Starts, from_groups, from_representations

BATCH = 16384  # samples grown side by side: the few that go on for long seldom run alone
PILOT = 512  # free samples that tell how often conditions are met
SELDOM = 0.03  # share of free samples below which particles are quicker
RARE = 0.01  # share of distinct samples in a batch below which there are no more to be had

Samples = tuple[
    Tensor, Tensor, Tensor
]  # space group (n,), elements and positions (n, sites), -1 for none


def sample(
    model: WyckoffTransformer | Ensemble,
    n: int,
    temperature: float = 1.0,
    seed: int = 0,
    space_groups: Collection[int] | Mapping[int, float] | None = None,
    given: pd.DataFrame | None = None,
    distinct: bool = False,
    **conditions,
) -> pd.DataFrame:
    """New Wyckoff representations from a trained model.

    Under conditions they follow p(crystal | conditions) of the model, its space groups included. Where many free
    samples fulfil the conditions, those are taken; else `particles.draw` makes some.

    Args:
        model: a trained model, as `checkpoint.load` gives it.
        n: how many.
        temperature: divides the logits of all three heads; 1 is the model's own distribution.
        seed: of everything random; the same seed gives the same rows.
        space_groups: no others than these, or the prior probability of each by its number; by default all, as
            often as they occur in train and validation (§3.4).
        given: representations to be completed: sample i has the space group and the sites, if any, of row i
            modulo their number, and those that the model adds; it may find that nothing is missing.
        distinct: no two of the same fingerprint; fewer than n where there are not so many different ones.
        conditions: of `Conditions.of`: `elements` (no others than these), `excluded`, `required` (all of these),
            each a collection of symbols; `n_elements`, `sites` (occupied positions), `atoms` (in the primitive
            cell), each a pair of the least and the most; `formula`, such as LiFePO4 or ABX3.

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
    wanted = Conditions.of(model, **conditions)
    generator = torch.Generator().manual_seed(seed)
    if given is not None:
        draws = _completed(
            model, from_representations(model, given), temperature, wanted, generator
        )
    else:
        starts, prior = from_groups(model, space_groups)
        if conditions:
            draws = _conditioned(model, starts, prior, temperature, wanted, generator)
        else:
            draws = partial(
                _grown,
                model,
                starts,
                prior,
                temperature=temperature,
                formal=True,
                generator=generator,
            )
    return _table(model, *_sites(*(_distinct(draws, n) if distinct else draws(n))))


def free_that_fulfil(
    model: WyckoffTransformer | Ensemble,
    n: int,
    seed: int,
    most: int,
    space_groups: Collection[int] | Mapping[int, float] | None = None,
    **conditions,
) -> tuple[pd.DataFrame, float]:
    """The first n free samples that fulfil conditions, for comparison: `sample` finds such ones quicker.

    A sample is given up after its first element that is not allowed, which changes nothing but the time.

    Args:
        model, n, seed, space_groups, conditions: as in `sample`.
        most: free samples that are looked through; if too few of them fulfil the conditions, there are fewer than n.

    Returns:
        A table as of `sample`, and the share of all free samples looked through that fulfil the conditions; with
        `space_groups`, of those in these groups.

    Raises:
        ValueError: as `sample`.
    """
    wanted = Conditions.of(model, **conditions)
    generator = torch.Generator().manual_seed(seed)
    free = partial(_fulfilling, model, *from_groups(model, space_groups), 1.0, wanted, generator)
    parts, there, looked = [], 0, 0
    while there < n and looked < most:
        parts.append(free(BATCH))
        there, looked = there + len(parts[-1][0]), looked + BATCH
    found = tuple(torch.cat(part)[:n] for part in zip(*parts, strict=True))
    return _table(model, *_sites(*found)), there / looked


def sample_unconstrained(
    model: WyckoffTransformer | Ensemble,
    n: int,
    temperature: float = 1.0,
    seed: int = 0,
    space_groups: Collection[int] | Mapping[int, float] | None = None,
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
    grown = _grown(model, *from_groups(model, space_groups), n, temperature, False, generator)
    representations = _representations(model, *_sites(*grown))
    table = to_table(representations, reason=[r.invalidity() for r in representations])
    valid = table["reason"].isna()
    return table[valid].drop(columns="reason"), table[~valid]


def _check(temperature: float) -> None:
    if not 0 < temperature < float("inf"):
        raise ValueError(f"temperature {temperature}: must be above 0 and finite")


def _grown(
    model: WyckoffTransformer | Ensemble,
    starts: Starts,
    prior: Tensor,
    n: int,
    temperature: float,
    formal: bool,
    generator: torch.Generator,
    allowed: Tensor | None = None,
) -> Samples:
    """Free samples; those with an element that is not allowed are unfinished."""
    chosen = torch.multinomial(prior, n, replacement=True, generator=generator)
    group, parts = starts.space_group[chosen], []
    with tqdm(total=n, desc="sample", disable=None) as progress:
        for part in group.split(BATCH):
            parts.append(grow(model, part, temperature, formal, generator, allowed))
            progress.update(len(part))
    return group, *map(torch.cat, zip(*parts, strict=True))


def _fulfilling(
    model: WyckoffTransformer | Ensemble,
    starts: Starts,
    prior: Tensor,
    temperature: float,
    conditions: Conditions,
    generator: torch.Generator,
    n: int,
) -> Samples:
    """Those of n free samples that fulfil conditions."""
    allowed = conditions.allowed
    found = _grown(model, starts, prior, n, temperature, True, generator, allowed)
    met = conditions.met(model, *found)
    return tuple(part[met] for part in found)


def _conditioned(
    model: WyckoffTransformer | Ensemble,
    starts: Starts,
    prior: Tensor,
    temperature: float,
    conditions: Conditions,
    generator: torch.Generator,
) -> Callable[[int], Samples]:
    """What draws samples under conditions, whichever way is quicker."""
    impossible = obstacles(model, starts, conditions)
    if len(impossible) == len(prior):
        raise ValueError("; ".join(list(impossible.values())[:3]))
    prior[list(impossible)] = 0

    free = partial(_fulfilling, model, starts, prior, temperature, conditions, generator)
    pilot = free(PILOT)
    share = len(pilot[0]) / PILOT
    if share < SELDOM:
        stratum = torch.zeros(len(prior), dtype=torch.long)
        return lambda n: particles.draw(
            model, starts, prior, stratum, torch.tensor([n]), temperature, conditions, generator
        )

    def accepted(n: int) -> Samples:
        parts, there = [pilot], len(pilot[0])
        while there < n:
            parts.append(free(int((n - there) / share * 1.1) + 100))
            there += len(parts[-1][0])
        return tuple(torch.cat(part)[:n] for part in zip(*parts, strict=True))

    return accepted


def _completed(
    model: WyckoffTransformer | Ensemble,
    starts: Starts,
    temperature: float,
    conditions: Conditions,
    generator: torch.Generator,
) -> Callable[[int], Samples]:
    """What completes representations, one after the other, again and again."""
    for obstacle in obstacles(model, starts, conditions).values():
        raise GivenError(obstacle)
    rows = len(starts.names)

    def completed(n: int) -> Samples:
        of = torch.arange(n) % rows
        counts = torch.bincount(of, minlength=rows)
        prior, stratum = torch.ones(rows, dtype=torch.double), torch.arange(rows)
        found = particles.draw(
            model, starts, prior, stratum, counts, temperature, conditions, generator
        )
        place = of.argsort(stable=True).argsort()  # samples come row by row
        return tuple(part[place] for part in found)

    return completed


def _distinct(draws: Callable[[int], Samples], n: int) -> Samples:
    """Samples of which no two have the same fingerprint, at most n, in the order in which they were drawn first."""
    seen: set[str] = set()
    kept, size = [], n
    while len(seen) < n:
        group, elements, positions = draws(size)
        rows = []
        for row, representation in enumerate(decode(group, elements, positions, VOCABULARY)):
            if (name := representation.fingerprint()) not in seen and len(seen) < n:
                seen.add(name)
                rows.append(row)
        kept.append((group[rows], elements[rows], positions[rows]))
        if len(rows) < size * RARE:
            break
        size = min(2 * size, BATCH)
    if len(seen) < n:
        logging.getLogger(__name__).warning(
            "only %d different crystals of this kind were found, of %d asked for", len(seen), n
        )
    widest = max(part.shape[1] for _, part, _ in kept)
    ends = [(0, widest - part.shape[1]) for _, part, _ in kept]
    return (
        torch.cat([group for group, _, _ in kept]),
        *(
            torch.cat([F.pad(part[i], end, value=-1) for part, end in zip(kept, ends, strict=True)])
            for i in (1, 2)
        ),
    )


def _sites(group: Tensor, elements: Tensor, positions: Tensor) -> tuple[Tensor, ...]:
    """Space group and number of sites of each sample (n,), element and position of each site (sites,)."""
    there = elements >= 0
    return group, there.sum(1), elements[there], positions[there]


def _table(
    model: WyckoffTransformer, group: Tensor, sites: Tensor, element: Tensor, position: Tensor
) -> pd.DataFrame:
    """What `to_table` makes of valid samples, without objects in between, which take a fifth of the time."""
    t, ends = tables(), sites.cumsum(0).tolist()
    starts = [0, *ends[:-1]]
    letters = [p.letter for number in range(1, 231) for p in space_group(number).positions]
    symbols = [t.symmetries[i] for i in t.symmetry.tolist()]
    values = (
        np.array(model.elements, object)[element.numpy()],
        *(np.array(column, object)[position.numpy()] for column in (letters, symbols)),
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
