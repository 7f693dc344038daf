"""The look-ahead of conditional sampling: which next sites leave it possible to meet the conditions.

The cheapest free positions tell how many atoms the sites hold that must still come; `wyk.crystals.formulas` tells
whether the free positions can hold the atoms that are missing. So what cannot be met is known before the first draw,
and hardly a sample runs into a dead end.
"""

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from wyk.crystals import MOST_CELL_ATOMS, fixed_sizes, holds, openings
from wyk.model import Context, WyckoffTransformer, tables
from wyk.sampling.conditions import MOST, Conditions, lattice_points, spoken, symbols
from wyk.sampling.starts import Starts

CHUNK = 2048  # starts encoded at once
MOST_POSITIONS = 27  # of a group
NO_POSITION = 10_000  # atoms on a position that cannot be taken: more than anyone asks for


class Outlook:
    """What may come next in each of u contexts, so that the conditions can still be met.

    Attributes:
        offered: (u, elements) which elements may come.
        stop: (u,) whether the sample may end here.

    Args:
        model: the model.
        context: what is known.
        sites: (u,) how many sites are known.
        conditions: what must be met in the end.
    """

    def __init__(
        self, model: WyckoffTransformer, context: Context, sites: Tensor, conditions: Conditions
    ):
        self.model, self.context = model, context
        group, present = context.space_group, context.presence > 0
        atoms = context.atoms.long()
        self.stop = ~context.empty & conditions.sums_met(model, group, sites, atoms)
        self._lattice = lattice_points()[group]
        self._spare = conditions.atoms[1] * self._lattice - atoms.sum(1)

        # after one more site: of a required element that is lacking, of another new one, of one that is there
        lacking = conditions.required & ~present
        short, kinds = lacking.sum(1), present.sum(1)
        self._kind = torch.where(present, 2, torch.where(lacking, 0, 1))  # (u, elements)
        self._more = torch.zeros(len(group), 3, dtype=torch.long)
        fits = torch.zeros(len(group), 3, dtype=torch.bool)
        for kind, (of_short, of_kinds) in enumerate(((1, 1), (0, 1), (0, 0))):
            left = short - of_short
            more = left.maximum(conditions.kinds[0] - kinds - of_kinds)
            self._more[:, kind] = more.maximum(conditions.sites[0] - sites - 1).clamp(min=0)
            fits[:, kind] = kinds + of_kinds + left <= conditions.kinds[1]
        fits &= sites[:, None] + 1 + self._more <= conditions.sites[1]
        self._least = torch.zeros(len(group), int(self._more.max()) + 2, dtype=torch.long)
        if conditions.atoms[1] < MOST:
            self._least[:, 1:] = _cheapest(context, self._least.shape[1] - 1)
        fits &= self._least.gather(1, 1 + self._more) <= self._spare[:, None]
        fits &= ~(present & ~conditions.allowed).any(1, keepdim=True)
        self.offered = conditions.allowed & fits.gather(1, self._kind)
        self._sizes = None
        if conditions.formula is not None:
            self._sizes = self._openings(conditions, atoms)
            self.offered &= self._sizes.any(2)

    def positions(self, row: Tensor, element: Tensor) -> Tensor:
        """Which positions may be taken, (q, symmetries, enumerations), by elements (q,) in some contexts (q,)."""
        t, place = tables(), self.model.lookup[self.context.space_group[row]]
        size = t.multiplicity[place]
        more = self._more[row, self._kind[row, element]]
        spare = self._spare[row] - self._least[row, more]
        free = self.context.free[row] & (size <= spare[:, None, None])
        if self._sizes is not None:
            kind = _size_index()[size] + (t.dof[place] > 0) * len(_sizes())
            free &= self._sizes[row, element].gather(1, kind.flatten(1)).view(free.shape)
        return free

    def _openings(self, conditions: Conditions, atoms: Tensor) -> Tensor:
        """Which multiplicities an element may take so that the formula can be met, (u, elements, 2 · sizes).

        Those of positions without freedom come first, then those of positions with it.
        """
        formula, vocabulary = conditions.formula, self.model.elements
        points = self._lattice.tolist()
        most = max(MOST_CELL_ATOMS, 4 * sum(formula.counts), 2 * conditions.atoms[0])
        most = min(most, conditions.atoms[1])
        masks, of, found = [], [], {}
        rows = zip(
            self.context.space_group.tolist(),
            _fixed_free(self.context),
            atoms.tolist(),
            strict=True,
        )
        for u, (number, fixed, counts) in enumerate(rows):
            there = [e for e, n in enumerate(counts) if n]
            if formula.elements is not None:
                there = [vocabulary.index(symbol) for symbol in formula.elements]
            known = tuple((vocabulary[e], counts[e]) for e in there)
            key = (number, fixed, known)
            if key not in found:
                found[key] = len(masks)
                masks.append(
                    self._mask(
                        openings(formula, *key, conditions.atoms[0] * points[u], most * points[u]),
                        atoms[u] == 0,
                    )
                )
            of.append(found[key])
        return torch.stack(masks)[of]

    def _mask(self, found: tuple[tuple[str | None, bool, int], ...], new: Tensor) -> Tensor:
        """What `openings` found, (elements, 2 · sizes); `new` are the elements that are not there yet."""
        mask = torch.zeros(len(new), 2 * len(_sizes()), dtype=torch.bool)
        for symbol, free, size in found:
            element = new if symbol is None else self.model.elements.index(symbol)
            mask[element, _sizes().index(size) + free * len(_sizes())] = True
        return mask


def _places(context: Context) -> tuple[Tensor, Tensor]:
    """All positions of each context's group, (u, 27), and which of them are free, (u, 27)."""
    t = tables()
    place = t.offset[context.space_group, None] + torch.arange(MOST_POSITIONS)
    place = place.clamp(max=len(t.group) - 1)
    row = torch.arange(len(place))[:, None]
    free = context.free[row, t.symmetry[place], t.enumeration[place]]
    return place, free & (t.group[place] == context.space_group[:, None])


def _cheapest(context: Context, most: int) -> Tensor:
    """Atoms on the cheapest 1, 2 … most free positions of each context, (u, most); a fixed one counts once."""
    t, (place, free) = tables(), _places(context)
    atoms, again = t.multiplicity[place], t.dof[place] > 0
    once = atoms.where(free & ~again, NO_POSITION).sort(1).values
    once = F.pad(once, (0, most), value=NO_POSITION)[:, :most]
    return once.minimum(atoms.where(free & again, NO_POSITION).amin(1, keepdim=True)).cumsum(1)


def _fixed_free(context: Context) -> list[tuple[int, ...]]:
    """How many positions without freedom are free in each context, of each size in `fixed_sizes`."""
    t, (place, free) = tables(), _places(context)
    sizes = t.multiplicity[place].where(free & (t.dof[place] == 0), 0).tolist()
    numbers = context.space_group.tolist()
    return [
        tuple(map(row.count, fixed_sizes(number)))
        for number, row in zip(numbers, sizes, strict=True)
    ]


@cache
def _sizes() -> list[int]:
    """All multiplicities that there are."""
    return sorted(set(tables().multiplicity.tolist()))


@cache
def _size_index() -> Tensor:
    """The place of each multiplicity in `_sizes`."""
    index = torch.zeros(max(_sizes()) + 1, dtype=torch.long)
    index[torch.tensor(_sizes())] = torch.arange(len(_sizes()))
    return index


@torch.no_grad()
def obstacles(model: WyckoffTransformer, starts: Starts, conditions: Conditions) -> dict[int, str]:
    """The starts that no sample can complete, each with what is in the way."""
    found = {}
    for part in torch.arange(len(starts.names)).split(CHUNK):
        # with a blank, because torch cannot attend to a lone token under a mask
        elements = F.pad(starts.elements[part], (0, 1), value=-1)
        positions = F.pad(starts.positions[part], (0, 1), value=-1)
        context = model.encode(starts.space_group[part], elements, positions)
        ahead = Outlook(model, context, (elements >= 0).sum(1), conditions)
        stuck = (~ahead.stop & ~ahead.offered.any(1)).tolist()
        rows = zip(part.tolist(), stuck, _have_room(context, conditions), strict=True)
        for i, (start, closed, room) in enumerate(rows):
            if closed or not room:
                found[start] = f"{starts.names[start]}: {_reason(ahead, i, conditions, room)}"
    return found


def _have_room(context: Context, conditions: Conditions) -> list[bool]:
    """Whether the free positions of each context can hold as many atoms as are missing."""
    points, there = lattice_points()[context.space_group], context.atoms.long().sum(1)
    low, high = ((n * points - there).clamp(min=0).tolist() for n in conditions.atoms)
    return list(map(holds, context.space_group.tolist(), _fixed_free(context), low, high))


def _reason(ahead: Outlook, i: int, conditions: Conditions, room: bool) -> str:
    """What stands in the way of the i-th context of an outlook, which may have room for the atoms."""
    context = ahead.context
    present = context.presence[i] > 0
    if wrong := symbols(ahead.model, present & ~conditions.allowed):
        return f"{', '.join(wrong)} is not among the allowed elements"
    kinds = max(
        int(present.sum()) + int((conditions.required & ~present).sum()), conditions.kinds[0]
    )
    if kinds > conditions.kinds[1]:
        return f"at least {kinds} elements are needed, at most {conditions.kinds[1]} allowed"
    sites = int(context.presence[i].sum())
    more = max(kinds - int(present.sum()), conditions.sites[0] - sites, sites == 0)
    if sites + more > conditions.sites[1]:
        return f"at least {sites + more} sites are needed, at most {conditions.sites[1]} allowed"
    points = int(lattice_points()[context.space_group[i]])
    least = int(context.atoms[i].sum())
    if more:
        least += int(_cheapest(context, more)[i, -1])
    if least > conditions.atoms[1] * points:
        return (
            f"at least {least // points} atoms in the primitive cell are needed, "
            f"at most {conditions.atoms[1]} allowed"
        )
    if not room:
        asked = spoken(conditions.atoms)
        return f"its Wyckoff positions cannot hold {asked} atoms in the primitive cell"
    return "its Wyckoff positions cannot hold the atoms of the formula"
