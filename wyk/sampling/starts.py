"""What samples start from: space groups alone, or representations to be completed."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor

from wyk.crystals import WyckoffRepresentation
from wyk.model import WyckoffTransformer, encode
from wyk.sampling.conditions import mask


class GivenError(ValueError):
    """A representation to be completed is invalid, or at odds with the conditions."""


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
            mask(model, row.elements)
        except ValueError as error:
            raise GivenError(f"{name}: {error}") from error
        rows.append(row)
    some = torch.tensor([bool(row.letters) for row in rows])
    known = encode([row for row in rows if row.letters], model.elements)
    elements, positions = torch.full((2, len(rows), known.elements.shape[1]), -1)
    elements[some], positions[some] = known.elements, known.positions
    return Starts(names, torch.tensor([row.space_group for row in rows]), elements, positions)
