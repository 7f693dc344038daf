"""What samples start from and must fulfil, and the look-ahead that lets every sample fulfil it.

What is offered to a sample leaves room, in sites and in atoms, for the elements that it must have and has not
yet. The cheapest free positions tell exactly how much that is. So no sample runs into a dead end, and what
cannot be met is known before the first draw.
"""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from wyk.model import Context, WyckoffTransformer
from wyk.representation import WyckoffRepresentation
from wyk.spacegroups import space_group
from wyk.tokenization import encode, tables

CHUNK = 2048  # starts encoded at once
MOST_POSITIONS = 27  # of a group
NO_POSITION = 10_000  # atoms on a position that cannot be taken: more than anyone asks for


class GivenError(ValueError):
    """A representation to be completed is invalid, or at odds with the conditions."""


@dataclass(frozen=True)
class Conditions:
    """What samples must fulfil.

    Attributes:
        allowed, required: (elements,) which elements a sample may have, and which it must have.
        steps: how many sites may be added: hot samples could go on for ever.
        max_atoms: of the primitive cell; None for any number.
        max_sites: None for any number.
    """

    allowed: Tensor
    required: Tensor
    steps: int
    max_atoms: int | None = None
    max_sites: int | None = None

    @classmethod
    def of(
        cls,
        model: WyckoffTransformer,
        elements: Collection[str] | None = None,
        required: Collection[str] | None = None,
        max_atoms: int | None = None,
        max_sites: int | None = None,
    ) -> "Conditions":
        """Conditions in a model's vocabulary; arguments as in `sampling.sample`.

        Raises:
            ValueError: if no element is allowed, one that is required is not, or the model does not know one.
        """
        elements = model.elements if elements is None else elements
        required = required or ()
        if not elements:
            raise ValueError("no element is allowed")
        if outside := sorted(set(required) - set(elements)):
            raise ValueError(f"required but not allowed: {', '.join(outside)}")
        steps = max(most_sites(model), len(required))
        return cls(_mask(model, elements), _mask(model, required), steps, max_atoms, max_sites)


@dataclass(frozen=True)
class Starts:
    """What is known of samples before the first draw.

    Attributes:
        names: what messages call them.
        space_group: (s,) numbers.
        elements, positions: (s, known) given sites, -1 for none.
    """

    names: tuple[str, ...]
    space_group: Tensor
    elements: Tensor
    positions: Tensor


def most_sites(model: WyckoffTransformer) -> int:
    """After how many sites a sample ends: twice as many as any crystal has that the model learned from."""
    return 2 * model.config["most_sites"]


def _mask(model: WyckoffTransformer, elements: Collection[str]) -> Tensor:
    if unknown := sorted(set(elements) - set(model.elements)):
        raise ValueError(f"the model's vocabulary has no {', '.join(unknown)}")
    return torch.tensor([symbol in set(elements) for symbol in model.elements])


def from_groups(
    model: WyckoffTransformer, space_groups: Collection[int] | None
) -> tuple[Starts, Tensor]:
    """Space groups alone, by default those the model knows, and how often each occurs, (s,).

    Raises:
        ValueError: if there are none, or one does not exist.
    """
    if space_groups is None:
        counts = {int(number): n for number, n in model.config["space_group_counts"].items()}
    else:
        counts = Counter(space_groups)
    if not counts:
        raise ValueError("no space group to sample")
    if wrong := [number for number in counts if not 1 <= number <= 230]:
        raise ValueError(f"there is no space group {wrong[0]}: numbers run from 1 to 230")
    names = tuple(f"space group {number}" for number in counts)
    nothing = torch.full((len(counts), 0), -1)
    weights = torch.tensor(list(counts.values()), dtype=torch.double)
    return Starts(names, torch.tensor(list(counts)), nothing, nothing), weights


def from_representations(model: WyckoffTransformer, frame: pd.DataFrame) -> Starts:
    """The rows of a table, to be completed; a row may have no site yet.

    Raises:
        GivenError: naming a row that is formally invalid, or has an element that the model does not know.
    """
    if frame.empty:
        raise GivenError("no representation to complete")
    names = tuple(f"row {i} ({name})" for i, name in enumerate(frame["material_id"], 1))
    columns = (frame["space_group"], frame["elements"], frame["wyckoff_letters"])
    rows = []
    for name, number, elements, letters in zip(names, *columns, strict=True):
        try:
            row = WyckoffRepresentation(int(number), tuple(elements), tuple(letters))
            reason = row.invalidity()
            if reason and (row.letters or not 1 <= row.space_group <= 230):
                raise ValueError(reason)
            _mask(model, row.elements)
        except ValueError as error:
            raise GivenError(f"{name}: {error}") from error
        rows.append(row)
    some = torch.tensor([bool(row.letters) for row in rows])
    known = encode([row for row in rows if row.letters], model.elements)
    elements, positions = torch.full((2, len(rows), known.elements.shape[1]), -1)
    elements[some], positions[some] = known.elements, known.positions
    return Starts(names, torch.tensor([row.space_group for row in rows]), elements, positions)


@dataclass(frozen=True)
class Outlook:
    """What may still come in each of u contexts.

    Attributes:
        lacking: (u, elements) required elements that are not there yet.
        short: (u,) how many they are.
        sites: (u,) how many more sites may come.
        atoms: (u,) how many more atoms may come, in the conventional cell.
        least: (u, k) atoms that 0, 1, 2 … more sites hold at least; zeros if the atoms are not limited.
    """

    lacking: Tensor
    short: Tensor
    sites: Tensor
    atoms: Tensor
    least: Tensor

    def fits(self, more: Tensor) -> Tensor:
        """Whether so many more sites (u,) find room."""
        return (more <= self.sites) & (self.least.gather(1, more[:, None])[:, 0] <= self.atoms)


def outlook(context: Context, positions: Tensor, conditions: Conditions, steps: int) -> Outlook:
    """The outlook of contexts whose known positions are (u, known), with so many steps to go."""
    lacking = conditions.required & (context.presence == 0)
    sites = torch.full_like(context.space_group, steps)
    if conditions.max_sites is not None:
        sites = (conditions.max_sites - (positions >= 0).sum(1)).clamp(max=steps)
    atoms = torch.zeros_like(sites)
    least = torch.zeros(len(sites), int(conditions.required.sum()) + 2, dtype=torch.long)
    if conditions.max_atoms is not None:
        there = tables().multiplicity[positions].where(positions >= 0, 0)
        atoms = conditions.max_atoms * _lattice_points()[context.space_group] - there.sum(1)
        least[:, 1:] = _cheapest(context, least.shape[1] - 1)
    return Outlook(lacking, lacking.sum(1), sites, atoms, least)


def _cheapest(context: Context, most: int) -> Tensor:
    """Atoms on the cheapest 1, 2 … most free positions of each context, (u, most); a fixed one counts once."""
    t = tables()
    place = t.offset[context.space_group, None] + torch.arange(MOST_POSITIONS)
    place = place.clamp(max=len(t.group) - 1)
    row = torch.arange(len(place))[:, None]
    free = context.free[row, t.symmetry[place], t.enumeration[place]]
    free &= t.group[place] == context.space_group[:, None]
    atoms, again = t.multiplicity[place], t.dof[place] > 0
    once = atoms.where(free & ~again, NO_POSITION).sort(1).values
    once = F.pad(once, (0, most), value=NO_POSITION)[:, :most]
    return once.minimum(atoms.where(free & again, NO_POSITION).amin(1, keepdim=True)).cumsum(1)


@cache
def _lattice_points() -> Tensor:
    """Primitive cells in the conventional cell of each group, (231,); index 0 is unused."""
    return torch.tensor([0] + [space_group(number).lattice_points for number in range(1, 231)])


@torch.no_grad()
def obstacles(model: WyckoffTransformer, starts: Starts, conditions: Conditions) -> dict[int, str]:
    """The starts that no sample can complete, each with what is in the way."""
    found = {}
    for part in torch.arange(len(starts.names)).split(CHUNK):
        # with a blank, because torch cannot attend to a lone token under a mask
        elements = F.pad(starts.elements[part], (0, 1), value=-1)
        positions = F.pad(starts.positions[part], (0, 1), value=-1)
        context = model.encode(starts.space_group[part], elements, positions)
        ahead = outlook(context, positions, conditions, conditions.steps)
        more = ahead.short.clamp(min=1).where(context.empty, ahead.short)
        strange = (context.presence > 0) & ~conditions.allowed
        for i in (strange.any(1) | ~ahead.fits(more)).nonzero().ravel().tolist():
            if strange[i].any():
                symbols = [model.elements[e] for e in strange[i].nonzero().ravel().tolist()]
                reason = f"{', '.join(symbols)} is not among the allowed elements"
            elif more[i] > ahead.sites[i]:
                reason = (
                    f"at least {(positions[i] >= 0).sum() + more[i]} sites are needed, "
                    f"at most {conditions.max_sites} allowed"
                )
            else:
                points = _lattice_points()[context.space_group[i]]
                excess = (ahead.least[i, more[i]] - ahead.atoms[i]) // points
                reason = (
                    f"at least {conditions.max_atoms + excess} atoms in the primitive cell are needed, "
                    f"at most {conditions.max_atoms} allowed"
                )
            found[int(part[i])] = f"{starts.names[int(part[i])]}: {reason}"
    return found
