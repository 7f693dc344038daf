"""Whether common oxidation states can balance: with the known sites, and with one more."""

import torch
from pymatgen.core import Element
from torch import Tensor, nn

from wyk.model.tokenization import tables


class Charges(nn.Module):
    """Charge balance of sets of sites, for up to three elements, each with one oxidation state."""

    def __init__(self, elements: tuple[str, ...]):
        super().__init__()
        sizes, size = tables().multiplicity.unique(return_inverse=True)
        index = torch.zeros(int(sizes.max()) + 1, dtype=torch.long)
        index[tables().multiplicity] = size
        for name, values in (
            ("states", oxidation_states(elements)),
            ("metal", torch.tensor([Element(symbol).is_metal for symbol in elements])),
            ("sizes", sizes.float()),  # the multiplicities that there are
            ("index", index),  # of a multiplicity in sizes
        ):
            self.register_buffer(name, values, persistent=False)

    def balance(self, atoms: Tensor) -> Tensor:
        """How the charges of atoms (b, elements) stand, (b,): 0 open, 1 balanced, 2 nothing but metals."""
        a, b, c = self._charges(atoms).unbind(1)
        total = a[:, :, None, None] + b[:, None, :, None] + c[:, None, None]
        balanced = (total == 0).flatten(1).any(1) & ((atoms > 0).sum(1) <= 3)
        metallic = ((atoms > 0) <= self.metal).all(1)
        return balanced.long().masked_fill(metallic, 2)

    def balanced_by(self, element: Tensor, multiplicity: Tensor, atoms: Tensor) -> Tensor:
        """Whether one more site can balance the charges of atoms (q, elements).

        Args:
            element: (q,) of the site.
            multiplicity: (q, candidates) of the site.
            atoms: (q, elements) how many there are already.

        Returns:
            (q, candidates), false with more than three elements.
        """
        others = atoms.scatter(1, element[:, None], 0.0)
        a, b, _ = self._charges(others).unbind(1)
        total = (a[:, :, None] + b[:, None]).flatten(1)
        total = total.nan_to_num(nan=torch.inf).sort(1).values  # of the others: (q, states²)
        own = atoms.gather(1, element[:, None]) + self.sizes  # (q, sizes)
        needed = (-own[..., None] * self.states[element][:, None]).flatten(1)  # (q, sizes · states)
        place = torch.searchsorted(total, needed).clamp(max=total.shape[1] - 1)
        fits = (total.gather(1, place) == needed).unflatten(1, (own.shape[1], -1)).any(2)
        fits &= ((others > 0).sum(1) <= 2)[:, None]
        return fits.gather(1, self.index[multiplicity])

    def _charges(self, atoms: Tensor) -> Tensor:
        """Charges that the three most frequent elements may carry, (b, 3, states), NaN where there is none."""
        count, element = atoms.topk(3, 1)
        nothing = len(self.states) - 1
        return count[..., None] * self.states[element.masked_fill(count == 0, nothing)]


def oxidation_states(elements: tuple[str, ...]) -> Tensor:
    """Common oxidation states of elements, (elements + 1, states), NaN beyond the last of each.

    The row after the last element is that of no element: it has no charge.
    """
    states = [Element(symbol).common_oxidation_states for symbol in elements] + [(0,)]
    rows = torch.full((len(states), max(map(len, states))), torch.nan)
    for row, values in zip(rows, states, strict=True):
        row[: len(values)] = torch.tensor(values, dtype=torch.float32)
    return rows
