"""Wyckoff representations as tensors: vocabulary, augmentation, prefixes and their targets (paper, §3.1 and §3.3).

A site is two numbers: its element, and one of the 1,731 Wyckoff positions of all groups, counted through. Tables
turn a position into site symmetry and enumeration. Unused places of a row hold -1.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from wyk.crystals import VOCABULARY, WyckoffRepresentation, space_group

VARIANTS_KEPT = 64  # per structure; only some of group 2, which has 1,344, ever have more


@dataclass(frozen=True)
class Tables:
    """The 230 groups as tensors.

    Attributes:
        symmetries: all 78 site-symmetry symbols.
        offset: (231,) number of positions before a group's first; index 0 is unused.
        symmetry, enumeration, multiplicity, dof, group: (1731,) properties of the positions.
        lookup: (231, 78, 8) position of a (group, symmetry, enumeration), -1 if there is none.
    """

    symmetries: tuple[str, ...]
    offset: Tensor
    symmetry: Tensor
    enumeration: Tensor
    multiplicity: Tensor
    dof: Tensor
    group: Tensor
    lookup: Tensor


@cache
def tables() -> Tables:
    """The tables of all groups, built once per process."""
    groups = [space_group(number) for number in range(1, 231)]
    positions = [(g.number, p) for g in groups for p in g.positions]
    symmetries = tuple(sorted({p.site_symmetry for _, p in positions}))
    index = {symbol: i for i, symbol in enumerate(symmetries)}
    group = torch.tensor([number for number, _ in positions])
    symmetry = torch.tensor([index[p.site_symmetry] for _, p in positions])
    enumeration = torch.tensor([p.enumeration for _, p in positions])
    lookup = torch.full((231, len(symmetries), int(enumeration.max()) + 1), -1)
    lookup[group, symmetry, enumeration] = torch.arange(len(positions))
    return Tables(
        symmetries,
        torch.searchsorted(group, torch.arange(231)),
        symmetry,
        enumeration,
        torch.tensor([p.multiplicity for _, p in positions]),
        torch.tensor([p.dof for _, p in positions]),
        group,
        lookup,
    )


@dataclass(frozen=True)
class Encoded:
    """A data set as tensors.

    Attributes:
        space_group: (n,) numbers.
        length: (n,) occupied sites.
        elements: (n, sites) indices into the vocabulary, -1 beyond the last site.
        positions: (n, sites) Wyckoff positions, -1 beyond the last site.
        variants: (v, sites) positions of all normalizer variants of all structures, the given one first.
        variant_start, variant_count: (n,) where a structure's variants stand in it.
    """

    space_group: Tensor
    length: Tensor
    elements: Tensor
    positions: Tensor
    variants: Tensor
    variant_start: Tensor
    variant_count: Tensor

    def __len__(self) -> int:
        return len(self.length)


def encode(
    representations: Sequence[WyckoffRepresentation],
    elements: Sequence[str],
    variants: int = 0,
) -> Encoded:
    """Representations as tensors.

    Args:
        representations: formally valid ones.
        elements: the vocabulary, in the order of its indices.
        variants: for so many structures from the first list normalizer variants, too, for augmentation.

    Raises:
        ValueError: if a row is formally invalid or has an element outside the vocabulary; it is named.
    """
    index = {symbol: i for i, symbol in enumerate(elements)}
    offset = tables().offset.tolist()
    sites = max((len(r.letters) for r in representations), default=0)
    rows, images, counts = [], [], []
    for row, representation in enumerate(representations):
        if reason := representation.invalidity():
            raise ValueError(f"row {row}: {reason}")
        if unknown := sorted(set(representation.elements) - set(index)):
            raise ValueError(f"row {row}: the vocabulary has no {', '.join(unknown)}")
        padding = [-1] * (sites - len(representation.letters))
        group = space_group(representation.space_group)
        start = offset[group.number]
        place = {letter: start + i for i, letter in enumerate(group.letters)}
        own = tuple(place[letter] for letter in representation.letters)
        mine = [own]
        if row < variants:
            others = {tuple(place[v[p - start]] for p in own) for v in group.variants} - {own}
            others = sorted(others)
            if len(others) >= VARIANTS_KEPT:
                keep = np.random.default_rng(row).choice(len(others), VARIANTS_KEPT - 1, False)
                others = [others[i] for i in keep]
            mine += others
        rows.append([index[e] for e in representation.elements] + padding)
        images += [[*image, *padding] for image in mine]
        counts.append(len(mine))
    count = torch.tensor(counts, dtype=torch.long)
    start = count.cumsum(0) - count
    flat = torch.tensor(images, dtype=torch.long).reshape(len(images), sites)
    return Encoded(
        torch.tensor([r.space_group for r in representations], dtype=torch.long),
        torch.tensor([len(r.letters) for r in representations], dtype=torch.long),
        torch.tensor(rows, dtype=torch.long).reshape(len(rows), sites),
        flat[start],
        flat,
        start,
        count,
    )


def decode(
    space_groups: Tensor, element_rows: Tensor, position_rows: Tensor, elements: Sequence[str]
) -> list[WyckoffRepresentation]:
    """The inverse of `encode`: tensors (n,), (n, sites), (n, sites) back to representations."""
    t = tables()
    result = []
    for number, row_elements, row_positions in zip(
        space_groups.tolist(), element_rows.tolist(), position_rows.tolist(), strict=True
    ):
        letters = space_group(number).letters
        start = int(t.offset[number])
        sites = [(e, p) for e, p in zip(row_elements, row_positions, strict=True) if e >= 0]
        result.append(
            WyckoffRepresentation(
                number,
                tuple(elements[e] for e, _ in sites),
                tuple(letters[p - start] for _, p in sites),
            )
        )
    return result


@dataclass(frozen=True)
class Prefixes:
    """Partly known structures, and what may come next in each.

    The next token of a random order is any of the remaining sites with equal probability, or STOP when none
    remains: the soft target of §3.3, at all three levels of the cascade.

    Attributes:
        space_group: (b,) numbers.
        elements, positions: (b, known) the known sites, -1 beyond the last one.
        stop: (b,) whether everything is known, so that STOP is next.
        row, element, position, weight: (r,) each remaining site, the prefix it belongs to, and the
            probability that it comes next.
    """

    space_group: Tensor
    elements: Tensor
    positions: Tensor
    stop: Tensor
    row: Tensor
    element: Tensor
    position: Tensor
    weight: Tensor

    def to(self, device: torch.device) -> "Prefixes":
        """The same on another device."""
        return Prefixes(*(tensor.to(device) for tensor in vars(self).values()))

    def next_only(self) -> "Prefixes":
        """Only the site that comes next in the random order of each row, as a target of weight 1."""
        row, place = self.row.unique(return_inverse=True)
        first = torch.full_like(row, len(place))
        first = first.scatter_reduce(0, place, torch.arange(len(place)), "amin")
        weight = torch.ones(len(row))
        remaining = (row, self.element[first], self.position[first], weight)
        return Prefixes(self.space_group, self.elements, self.positions, self.stop, *remaining)


def prefixes(
    space_group: Tensor,
    elements: Tensor,
    positions: Tensor,
    known: Tensor,
    order: Tensor | None = None,
) -> Prefixes:
    """Prefixes of a batch of structures.

    Args:
        space_group: (b,) numbers.
        elements, positions: (b, sites), -1 beyond the last site of each.
        known: (b,) how many sites of each are known, from 0 to all.
        order: (b, sites) sort keys of the sites, the known ones first; random if None.
    """
    length = (elements >= 0).sum(1)
    keys = torch.rand(elements.shape) if order is None else order
    by_key = keys.masked_fill(elements < 0, torch.inf).argsort(1)
    elements, positions = elements.gather(1, by_key), positions.gather(1, by_key)
    place = torch.arange(elements.shape[1])
    row, column = ((place >= known[:, None]) & (place < length[:, None])).nonzero(as_tuple=True)
    widest = max(1, int(known.max()))  # torch cannot attend to a lone token under a mask
    hidden = (place >= known[:, None])[:, :widest]
    return Prefixes(
        space_group,
        elements[:, :widest].masked_fill(hidden, -1),
        positions[:, :widest].masked_fill(hidden, -1),
        known == length,
        row,
        elements[row, column],
        positions[row, column],
        1.0 / (length - known)[row],
    )


def site_order(elements: Tensor, positions: Tensor, kind: str) -> Tensor:
    """Sort keys of sites (b, sites): "random", or "canonical" by Wyckoff position, then element."""
    if kind == "random":
        return torch.rand(elements.shape)
    return (positions * len(VOCABULARY) + elements).double()


def augment(
    data: Encoded, structure: Tensor, variant: Tensor, substitute: Tensor, neighbours: Tensor
) -> tuple[Tensor, Tensor]:
    """Elements and positions (b, sites) of structures, some of them changed.

    Args:
        data: a data set with its normalizer variants.
        structure: (b,) which structures.
        variant: (b,) probability of a random normalizer variant (§3.3) instead of the given representation.
        substitute: (b,) probability that one element is exchanged, on all its sites, for a similar one.
        neighbours: (elements, k) for each element, those similar to it.
    """
    changed = torch.rand(len(structure)) < variant
    chosen = (torch.rand(len(structure)) * data.variant_count[structure]).long()
    positions = data.variants[data.variant_start[structure] + chosen.where(changed, 0)]
    elements = data.elements[structure]
    if (substitute > 0).any():
        site = (torch.rand(len(structure)) * data.length[structure]).long()
        old = elements.gather(1, site[:, None])
        new = neighbours[old, torch.randint(neighbours.shape[1], old.shape)]
        keep = (torch.rand(len(structure)) >= substitute)[:, None] | (elements == new).any(
            1, keepdim=True
        )
        elements = elements.where(keep | (elements != old), new)
    return elements, positions


def position_descriptors() -> Tensor:
    """Multiplicity, order of the site symmetry and degrees of freedom of each position, (1731, features)."""
    t = tables()
    general = torch.zeros(231, dtype=torch.long).scatter_reduce(0, t.group, t.multiplicity, "amax")
    order = general[t.group] / t.multiplicity
    return torch.cat(
        [
            t.multiplicity.log2()[:, None] / 3,
            order.log2()[:, None] / 3,
            F.one_hot(t.dof, 4).float(),
        ],
        1,
    )
