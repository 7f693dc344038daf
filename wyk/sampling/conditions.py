"""What samples must fulfil."""

from collections.abc import Collection
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from wyk.crystals import Formula, space_group
from wyk.model import WyckoffTransformer, tables

MOST = 1_000_000  # of anything that is not limited

Range = tuple[int, int]  # from the first to the second, both included


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
        known = mask(model, model.elements if elements is None else elements)
        allowed = known & ~mask(model, excluded)
        wanted = mask(model, required)
        for name, (low, high) in (("elements", n_elements), ("sites", sites), ("atoms", atoms)):
            if not 1 <= low <= high:
                raise ValueError(f"{low} to {high} {name}: no such number")
        if formula is not None:
            formula = Formula.parse(formula) if isinstance(formula, str) else formula
            if formula.elements is not None:
                its = mask(model, formula.elements)
                if wrong := symbols(model, wanted & ~its):
                    raise ValueError(f"required but not in the formula: {', '.join(wrong)}")
                if wrong := symbols(model, its & ~allowed):
                    raise ValueError(f"in the formula but not allowed: {', '.join(wrong)}")
                allowed = wanted = its
            n, size = len(formula.counts), sum(formula.counts)
            if not n_elements[0] <= n <= n_elements[1]:
                raise ValueError(
                    f"the formula has {n} elements, but {spoken(n_elements)} are asked for"
                )
            if atoms[1] // size * size < atoms[0]:
                raise ValueError(
                    f"cells of this formula hold {size}, {2 * size}, {3 * size} … atoms, "
                    f"but {spoken(atoms)} are asked for"
                )
            n_elements = (n, n)
        if not allowed.any():
            raise ValueError("no element is allowed")
        if outside := symbols(model, wanted & ~allowed):
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
        return self.sums_met(model, group, there.sum(1), atoms[:, :-1])

    def sums_met(
        self, model: WyckoffTransformer, group: Tensor, sites: Tensor, atoms: Tensor
    ) -> Tensor:
        """As `met`, by how many sites they have (b,) and the atoms of each element (b, elements)."""
        present = atoms > 0
        met = ~(present & ~self.allowed).any(1) & ~(self.required & ~present).any(1)
        primitive = atoms.sum(1) // lattice_points()[group]
        counts = (present.sum(1), self.kinds), (sites, self.sites), (primitive, self.atoms)
        for count, (low, high) in counts:
            met &= (count >= low) & (count <= high)
        return met if self.formula is None else met & self.formula.matches(atoms, model.elements)


def mask(model: WyckoffTransformer, elements: Collection[str]) -> Tensor:
    """Which elements of a model's vocabulary are meant, (elements,).

    Raises:
        ValueError: for an element that the model does not know.
    """
    if unknown := sorted(set(elements) - set(model.elements)):
        raise ValueError(f"the model's vocabulary has no {', '.join(unknown)}")
    return torch.tensor([symbol in set(elements) for symbol in model.elements])


def spoken(limits: Range) -> str:
    low, high = limits
    if low == high:
        return str(low)
    return f"{low} and more" if high >= MOST else f"{low} to {high}"


def symbols(model: WyckoffTransformer, mask: Tensor) -> list[str]:
    """The elements that a mask (elements,) means."""
    return [model.elements[e] for e in mask.nonzero().ravel().tolist()]


@cache
def lattice_points() -> Tensor:
    """Primitive cells in the conventional cell of each group, (231,); index 0 is unused."""
    return torch.tensor([0] + [space_group(number).lattice_points for number in range(1, 231)])
