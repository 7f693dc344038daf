"""What samples start from and must fulfil, and the look-ahead that says which next sites leave that possible.

The cheapest free positions tell how many atoms the sites hold that must still come; for a formula, `formulas`
tells whether the free positions can hold the atoms that are missing. So what cannot be met is known before the
first draw, and hardly a sample runs into a dead end.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from wyk.crystals import (
    MOST_CELL_ATOMS,
    Formula,
    WyckoffRepresentation,
    fixed_sizes,
    holds,
    openings,
    space_group,
)
from wyk.model import Context, WyckoffTransformer, encode, tables

CHUNK = 2048  # starts encoded at once
MOST_POSITIONS = 27  # of a group
NO_POSITION = 10_000  # atoms on a position that cannot be taken: more than anyone asks for
MOST = 1_000_000  # of anything that is not limited

Range = tuple[int, int]  # from the first to the second, both included


class GivenError(ValueError):
    """A representation to be completed is invalid, or at odds with the conditions."""


@dataclass(frozen=True)
class Conditions:
    """What samples must fulfil, in a model's vocabulary.

    Attributes:
        allowed, required: (elements,) which elements a sample may have, and which it must have.
        kinds: how many elements.
        sites: how many occupied Wyckoff positions.
        atoms: how many atoms in the primitive cell.
        formula: that of the compound; None for any.
    """

    allowed: Tensor
    required: Tensor
    kinds: Range = (1, MOST)
    sites: Range = (1, MOST)
    atoms: Range = (1, MOST)
    formula: Formula | None = None

    @classmethod
    def of(
        cls,
        model: WyckoffTransformer,
        elements: Collection[str] | None = None,
        excluded: Collection[str] = (),
        required: Collection[str] = (),
        n_elements: Range = (1, MOST),
        sites: Range = (1, MOST),
        atoms: Range = (1, MOST),
        formula: Formula | str | None = None,
    ) -> "Conditions":
        """Conditions in a model's vocabulary; arguments as in `sampling.sample`.

        Raises:
            ValueError: if they contradict one another, or the model does not know an element.
        """
        known = _mask(model, model.elements if elements is None else elements)
        allowed = known & ~_mask(model, excluded)
        wanted = _mask(model, required)
        for name, (low, high) in (("elements", n_elements), ("sites", sites), ("atoms", atoms)):
            if not 1 <= low <= high:
                raise ValueError(f"{low} to {high} {name}: no such number")
        if formula is not None:
            formula = Formula.parse(formula) if isinstance(formula, str) else formula
            if formula.elements is not None:
                its = _mask(model, formula.elements)
                if wrong := _symbols(model, wanted & ~its):
                    raise ValueError(f"required but not in the formula: {', '.join(wrong)}")
                if wrong := _symbols(model, its & ~allowed):
                    raise ValueError(f"in the formula but not allowed: {', '.join(wrong)}")
                allowed = wanted = its
            n, size = len(formula.counts), sum(formula.counts)
            if not n_elements[0] <= n <= n_elements[1]:
                raise ValueError(
                    f"the formula has {n} elements, but {_spoken(n_elements)} are asked for"
                )
            if atoms[1] // size * size < atoms[0]:
                raise ValueError(
                    f"cells of this formula hold {size}, {2 * size}, {3 * size} … atoms, "
                    f"but {_spoken(atoms)} are asked for"
                )
            n_elements = (n, n)
        if not allowed.any():
            raise ValueError("no element is allowed")
        if outside := _symbols(model, wanted & ~allowed):
            raise ValueError(f"required but not allowed: {', '.join(outside)}")
        if int(wanted.sum()) > n_elements[1]:
            raise ValueError(
                f"{int(wanted.sum())} elements are required, at most {n_elements[1]} allowed"
            )
        if int(allowed.sum()) < n_elements[0]:
            raise ValueError(
                f"{n_elements[0]} elements are asked for, only {int(allowed.sum())} allowed"
            )
        return cls(allowed, wanted, n_elements, sites, atoms, formula)

    @property
    def fewest(self) -> int:
        """Elements that a sample has at least."""
        return max(self.kinds[0], int(self.required.sum()))

    def met(
        self, model: WyckoffTransformer, group: Tensor, elements: Tensor, positions: Tensor
    ) -> Tensor:
        """Which samples (b,) fulfil the conditions, by their groups (b,) and sites (b, sites), -1 for none."""
        there = elements >= 0
        atoms = torch.zeros(len(group), len(model.elements) + 1, dtype=torch.long)
        size = tables().multiplicity[positions.clamp(min=0)].where(there, 0)
        atoms.scatter_add_(1, elements.where(there, len(model.elements)), size)
        return self._met(model, group, there.sum(1), atoms[:, :-1])

    def _met(
        self, model: WyckoffTransformer, group: Tensor, sites: Tensor, atoms: Tensor
    ) -> Tensor:
        present = atoms > 0
        met = ~(present & ~self.allowed).any(1) & ~(self.required & ~present).any(1)
        primitive = atoms.sum(1) // _lattice_points()[group]
        counts = (present.sum(1), self.kinds), (sites, self.sites), (primitive, self.atoms)
        for count, (low, high) in counts:
            met &= (count >= low) & (count <= high)
        return met if self.formula is None else met & self.formula.matches(atoms, model.elements)


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


def _mask(model: WyckoffTransformer, elements: Collection[str]) -> Tensor:
    if unknown := sorted(set(elements) - set(model.elements)):
        raise ValueError(f"the model's vocabulary has no {', '.join(unknown)}")
    return torch.tensor([symbol in set(elements) for symbol in model.elements])


def _spoken(limits: Range) -> str:
    low, high = limits
    if low == high:
        return str(low)
    return f"{low} and more" if high >= MOST else f"{low} to {high}"


def _symbols(model: WyckoffTransformer, mask: Tensor) -> list[str]:
    return [model.elements[e] for e in mask.nonzero().ravel().tolist()]


def from_groups(
    model: WyckoffTransformer, space_groups: Collection[int] | Mapping[int, float] | None
) -> tuple[Starts, Tensor]:
    """Space groups alone, and the prior probability of each up to a factor, (s,).

    Args:
        model: a trained model, which knows how often each group occurs in its data.
        space_groups: numbers, by default all that occur; or their prior, by number. A group asked for that never
            occurs counts as occurring once.

    Raises:
        ValueError: if there are none, or one does not exist.
    """
    known = {int(number): n for number, n in model.config["space_group_counts"].items()}
    if space_groups is None:
        prior = known
    elif isinstance(space_groups, Mapping):
        prior = dict(space_groups)
    else:
        prior = {number: known.get(number, 1) for number in sorted(set(space_groups))}
    if not prior:
        raise ValueError("no space group to sample")
    if wrong := [number for number in prior if not 1 <= number <= 230]:
        raise ValueError(f"there is no space group {wrong[0]}: numbers run from 1 to 230")
    names = tuple(f"space group {number}" for number in prior)
    nothing = torch.full((len(prior), 0), -1)
    weights = torch.tensor(list(prior.values()), dtype=torch.double)
    return Starts(names, torch.tensor(list(prior)), nothing, nothing), weights


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
        self.stop = ~context.empty & conditions._met(model, group, sites, atoms)
        self._lattice = _lattice_points()[group]
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
        formula, symbols = conditions.formula, self.model.elements
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
                there = [symbols.index(symbol) for symbol in formula.elements]
            known = tuple((symbols[e], counts[e]) for e in there)
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
        sites = (elements >= 0).sum(1)
        ahead = Outlook(model, context, sites, conditions)
        for i in (~ahead.stop & ~ahead.offered.any(1)).nonzero().ravel().tolist():
            found[int(part[i])] = f"{starts.names[int(part[i])]}: {_reason(ahead, i, conditions)}"
        for i in (sites == 0).nonzero().ravel().tolist():
            number, (low, high) = int(context.space_group[i]), conditions.atoms
            points = int(_lattice_points()[number])
            if not holds(number, low * points, high * points):
                asked = f"{low}" if low == high else f"{low} to {high}"
                reason = f"its Wyckoff positions cannot hold {asked} atoms in the primitive cell"
                found.setdefault(int(part[i]), f"{starts.names[int(part[i])]}: {reason}")
    return found


def _reason(ahead: Outlook, i: int, conditions: Conditions) -> str:
    """What stands in the way of the i-th context of an outlook."""
    context = ahead.context
    present = context.presence[i] > 0
    if wrong := _symbols(ahead.model, present & ~conditions.allowed):
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
    points = int(_lattice_points()[context.space_group[i]])
    least = int(context.atoms[i].sum())
    if more:
        least += int(_cheapest(context, more)[i, -1])
    if least > conditions.atoms[1] * points:
        return (
            f"at least {least // points} atoms in the primitive cell are needed, "
            f"at most {conditions.atoms[1]} allowed"
        )
    return "its Wyckoff positions cannot hold the atoms of the formula"
