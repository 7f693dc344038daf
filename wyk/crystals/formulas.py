"""Chemical formulas as conditions: what they say, and which Wyckoff positions can hold their atoms."""

import itertools
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from math import gcd

import torch
from pymatgen.core import Composition
from torch import Tensor

from wyk.common import ELEMENTS
from wyk.crystals.spacegroups import space_group

MOST_CELL_ATOMS = 40  # of a primitive cell, or 4 formula units: what is looked for unless a condition says otherwise


@dataclass(frozen=True)
class Formula:
    """The formula of a compound, such as LiFePO4, or of any like it, such as ABX3.

    Attributes:
        counts: atoms of each part in the smallest formula unit.
        elements: the element of each part; None if any distinct elements will do.
    """

    counts: tuple[int, ...]
    elements: tuple[str, ...] | None

    @classmethod
    def parse(cls, text: str) -> "Formula":
        """Read a formula; one with letters that are no elements, such as ABX3, stands for any elements.

        Raises:
            ValueError: if it is neither; the text says what to write.
        """
        symbols = re.findall(r"[A-Z][a-z]?", text)
        if not re.fullmatch(r"([A-Z][a-z]?|\d|[()])+", text):
            raise ValueError(
                f"{text!r} is no formula; write e.g. LiFePO4, or ABX3 for any elements"
            )
        if wrong := [s for s in symbols if s not in ELEMENTS and len(s) > 1]:
            raise ValueError(f"{text!r}: {wrong[0]} is no chemical element")
        exact = set(symbols) <= set(ELEMENTS)
        if not exact and (real := [s for s in symbols if len(s) > 1 or s == "O"]):  # CsPbX3, ABO3
            raise ValueError(
                f"{text!r} mixes elements ({', '.join(dict.fromkeys(real))}) and letters for any element: "
                f"write letters alone, such as ABX3, and require {','.join(dict.fromkeys(real))}"
            )
        try:  # letters that are no elements stand for distinct ones
            names = [*symbols] if exact else _stand_ins(symbols)
            counts = Composition(re.sub(r"[A-Z][a-z]?", lambda _: names.pop(0), text))
        except ValueError as error:
            raise ValueError(f"{text!r} is no formula: {error}") from error
        atoms = tuple(map(int, counts.values()))
        if not 0 < len(set(symbols)) == len(atoms):
            raise ValueError(f"{text!r} is no formula: an element without atoms")
        divisor = gcd(*atoms)
        elements = tuple(e.symbol for e in counts) if exact else None
        return cls(tuple(n // divisor for n in atoms), elements)

    def matches(self, atoms: Tensor, elements: Sequence[str]) -> Tensor:
        """Whether compositions have this formula, (b,).

        Args:
            atoms: (b, elements) atoms of each element.
            elements: what the columns stand for.
        """
        total = atoms.sum(1)
        if self.elements is None:
            found = atoms.topk(len(self.counts), 1).values
            counts = sorted(self.counts, reverse=True)
        else:
            found = atoms[:, [elements.index(symbol) for symbol in self.elements]]
            counts = self.counts
        wanted = total[:, None] * torch.tensor(counts)
        return (total > 0) & (found * sum(counts) == wanted).all(1)

    def missing(self, known: dict[str, int], units: int) -> Iterator[dict[str | None, list[int]]]:
        """Atoms that are missing for so many formula units, each way to read known elements as parts of it.

        Args:
            known: atoms of the elements that are there; of all of the formula's, if it has elements.
            units: formula units.

        Yields:
            For each known element [atoms that are missing], and under None those of the parts that are not there.
        """
        for reading in self._readings(tuple(known)):
            left = [units * n - known[e] for n, e in zip(reading, known, strict=True)]
            if min(left, default=0) >= 0:
                others = Counter(self.counts) - Counter(reading)
                found = {e: [n] for e, n in zip(known, left, strict=True)}
                yield found | {None: [units * n for n in others.elements()]}

    def _readings(self, known: tuple[str, ...]) -> set[tuple[int, ...]]:
        if self.elements is None:
            return set(itertools.permutations(self.counts, len(known)))
        of = dict(zip(self.elements, self.counts, strict=True))
        return {tuple(of[symbol] for symbol in known)}


def _stand_ins(letters: Sequence[str]) -> list[str]:
    """An element for each letter, the same for the same one."""
    return [ELEMENTS[sorted(set(letters)).index(letter)] for letter in letters]


@cache
def fixed_sizes(number: int) -> tuple[int, ...]:
    """The multiplicities of a group's positions without freedom, which can be taken once, in rising order."""
    positions = space_group(number).positions
    return tuple(sorted({p.multiplicity for p in positions if p.dof == 0}))


@cache
def free_sizes(number: int) -> tuple[int, ...]:
    """The multiplicities of a group's positions with freedom, which can be taken again and again."""
    positions = space_group(number).positions
    return tuple(sorted({p.multiplicity for p in positions if p.dof}))


@cache
def _reach(number: int, most: int) -> int:
    """A number whose n-th bit says whether positions with freedom can hold n atoms, up to so many."""
    reach, mask = 1, (1 << (most + 1)) - 1
    for size in free_sizes(number):
        step = size
        while step <= most:  # twice as many of them each time
            reach |= reach << step & mask
            step *= 2
    return reach


@cache
def holds(number: int, fixed: tuple[int, ...], low: int, high: int) -> bool:
    """Whether the free positions of a group can hold a number of atoms between two, in the conventional cell.

    Args:
        number: of the group.
        fixed: how many of its positions without freedom are free, of each size in `fixed_sizes`.
        low, high: the two numbers.
    """
    if high - low >= max(free_sizes(number)):
        return True
    reach = _reach(number, high)
    for size, n in zip(fixed_sizes(number), fixed, strict=True):
        for _ in range(n):  # each of them once
            reach |= reach << size
    return reach >> low & ((1 << (high - low + 1)) - 1) > 0


@lru_cache(maxsize=1_000_000)
def fillable(number: int, fixed: tuple[int, ...], atoms: tuple[int, ...]) -> bool:
    """Whether the free positions of a group can hold so many atoms of each of some elements.

    Args:
        number: of the group.
        fixed: how many of its positions without freedom are free, of each size in `fixed_sizes`.
        atoms: of each element, in the conventional cell.
    """
    atoms = tuple(n for n in atoms if n)
    if not atoms:
        return True
    first, *others = atoms
    sizes, reach = fixed_sizes(number), _reach(number, first)
    for used in itertools.product(
        *(range(min(n, first // size) + 1) for n, size in zip(fixed, sizes, strict=True))
    ):
        left = first - sum(n * size for n, size in zip(used, sizes, strict=True))
        if left >= 0 and reach >> left & 1:
            rest = tuple(n - k for n, k in zip(fixed, used, strict=True))
            if fillable(number, rest, tuple(others)):
                return True
    return False


@lru_cache(maxsize=1_000_000)
def openings(
    formula: Formula,
    number: int,
    fixed: tuple[int, ...],
    known: tuple[tuple[str, int], ...],
    least: int,
    most: int,
) -> tuple[tuple[str | None, bool, int], ...]:
    """The next sites after which a formula can still be met.

    Args:
        formula: of the compound.
        number: of the space group.
        fixed: its free positions without freedom, see `fillable`.
        known: elements and how many atoms of each there are, as in `Formula.missing`.
        least, most: atoms in the conventional cell.

    Returns:
        Of each such site: its element, None for one that is not there yet; whether its position has freedom; its
        multiplicity.
    """
    there = dict(known)
    kinds = [*there, None] if formula.elements is None else [*there]
    sites = [(False, size) for size, n in zip(fixed_sizes(number), fixed, strict=True) if n]
    sites += [(True, size) for size in free_sizes(number)]
    closed, found = [(kind, *site) for kind in kinds for site in sites], []
    size = sum(formula.counts)
    for units in range(-(-max(least, 1) // size), most // size + 1):
        for missing in formula.missing(there, units):
            opened = [o for o in closed if _leaves_room(number, fixed, missing, *o)]
            found += opened
            closed = [o for o in closed if o not in opened]
        if not closed:
            break
    return tuple(found)


def _leaves_room(
    number: int,
    fixed: tuple[int, ...],
    missing: dict[str | None, list[int]],
    element: str | None,
    free: bool,
    size: int,
) -> bool:
    """Whether a site leaves free positions that can hold what is missing after it."""
    if not free:
        index = fixed_sizes(number).index(size)
        fixed = (*fixed[:index], fixed[index] - 1, *fixed[index + 1 :])
    for part in {n for n in missing[element] if n >= size}:
        atoms = [n for parts in missing.values() for n in parts]
        atoms[atoms.index(part)] -= size  # equal numbers are alike
        if fillable(number, fixed, tuple(sorted(atoms))):
            return True
    return False
