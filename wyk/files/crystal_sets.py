"""Crystals of any source, each read once: with coordinates, and as a representation."""

import contextlib
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from pymatgen.core import Structure
from tqdm import tqdm

from wyk.crystals import WyckoffRepresentation, from_cell, to_table
from wyk.files.cells import read_cell, to_structure
from wyk.files.readers import Record, Rejected
from wyk.files.sources import count, records
from wyk.plumbing import Failed, in_order

TIME_LIMIT = 60  # s a row may take
KEPT = ("spacegroup.number", "e_above_hull")  # of `Record.extras`, as columns of a table


@dataclass(frozen=True)
class CrystalSet:
    """Crystals, each read once: with coordinates, and as a representation.

    Attributes:
        names: material_id of each, (n,).
        structures: None for one that cannot be read.
        representations: None for one that cannot be represented.
        rejected: those without a representation, and why.
        extras: `Record.extras` of each.
    """

    names: list[str]
    structures: list[Structure | None]
    representations: list[WyckoffRepresentation | None]
    rejected: list[Rejected]
    extras: list[dict]

    @classmethod
    def of(
        cls,
        items: Iterable[Record | Rejected],
        jobs: int = 1,
        total: int | None = None,
        what: str = "",
    ) -> "CrystalSet":
        """The crystals of records.

        Args:
            items: as `records` gives them.
            jobs: processes.
            total, what: how many there are and what they are called, for the bar.
        """
        found = cls([], [], [], [], [])
        results = in_order(_crystal, items, jobs, TIME_LIMIT)
        with contextlib.closing(results):  # on Ctrl-C the pool stops at once
            bar = tqdm(results, f"read {what}", total, unit="row", disable=None, file=sys.stderr)
            for item, result in bar:
                failed = isinstance(result, Failed)
                structure, represented = (None, result.reason) if failed else result
                if isinstance(represented, str):
                    found.rejected.append(Rejected(item.where, item.material_id, represented))
                    represented = None
                found.names.append(item.material_id)
                found.structures.append(structure)
                found.representations.append(represented)
                found.extras.append({} if isinstance(item, Rejected) else item.extras)
        return found

    @classmethod
    def read(cls, source: str | Path, jobs: int = 1) -> "CrystalSet":
        """The crystals of a data set or file; files that are no crystals are named in a sentence on stderr.

        Raises:
            ValueError, OSError: if the source cannot be read.
        """
        return cls.of(records(source), jobs, count(source, []), str(source))

    def table(self) -> pd.DataFrame:
        """The representations as a table, as `read` gives it."""
        there = [i for i, each in enumerate(self.representations) if each is not None]
        names = [self.names[i] for i in there]
        columns = kept([self.extras[i] for i in there])
        return to_table([self.representations[i] for i in there], names, **columns)


def kept(extras: Sequence[dict]) -> dict[str, list]:
    """What sources say of crystals beside their atoms, as columns; only those in which something stands."""
    names = [name for name in KEPT if any(name in each for each in extras)]
    return {name: [each.get(name) for each in extras] for name in names}


def _crystal(item: Record | Rejected) -> tuple[Structure | None, WyckoffRepresentation | str]:
    """A crystal and its representation, or the reason why there is none."""
    if isinstance(item, Rejected):
        raise ValueError(item.reason)
    cell = read_cell(item)
    structure = to_structure(cell)
    try:
        return structure, from_cell(cell.lattice, cell.fractional, cell.numbers)
    except ValueError as error:
        return structure, str(error)
