"""Energy above the convex hull of reference crystals (paper, §4)."""

import json
import logging
import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import combinations
from pathlib import Path

import pandas as pd
from pymatgen.core import Composition, Structure
from scipy.optimize import linprog
from tqdm import tqdm

from wyk import datasets, pool, relaxation
from wyk.paths import writing

REFERENCE = Path(str(files("wyk").joinpath("reference")))  # shipped: see its README.md
TABLE, ELEMENTS = "chgnet_energies.csv.gz", "elements.json"
COLUMNS = ("source", "material_id", "formula", "n_atoms", "energy_per_atom")
LOWEST_FORMATION = -6.0  # eV/atom; the lowest of 36,961 reference crystals is -4.47
TIME_LIMIT = 300.0  # seconds for one single point


@dataclass(frozen=True)
class Summary:
    """How many energies were written, and how many crystals have none (their reasons are in the sidecar)."""

    n: int
    rejected: int


class Hull:
    """The convex hull of reference energies."""

    def __init__(self, table: pd.DataFrame, elements: dict[str, float], name: str = "reference"):
        """Index a table of energies.

        Args:
            table: columns `COLUMNS`, energies in eV/atom; a column `potential`, if there is one, names
                what computed them.
            elements: energy of each element in its reference state, eV/atom, of the same potential.
            name: what an error message calls the table.

        Raises:
            ValueError: for missing columns, empty fields, another potential, or energies that cannot be on the
                scale of `elements`.
        """
        if missing := [column for column in COLUMNS if column not in table]:
            raise ValueError(
                f"{name} has no column {', '.join(missing)}: not a table of reference energies; "
                "`wyk reference` makes one"
            )
        others = set(table.get("potential", ())) - {relaxation.POTENTIAL}
        if others:
            raise ValueError(
                f"{name} holds energies of {', '.join(map(str, others))}; they cannot be mixed with those of "
                f"{relaxation.POTENTIAL}; make the table with `wyk reference`"
            )
        self.elements = elements
        self._entries: dict[frozenset[str], list[tuple[Composition, float]]] = {}
        energies = pd.to_numeric(table["energy_per_atom"], errors="coerce")
        rows = zip(table["material_id"], table["formula"], energies, strict=True)
        for row, (material_id, formula, energy) in enumerate(rows, start=2):
            self._add(f"{name}: row {row} ({material_id})", formula, energy)

    def _add(self, where: str, formula: str, energy_per_atom: float) -> None:
        try:
            composition = Composition(formula).fractional_composition
        except ValueError as error:
            raise ValueError(f"{where}: {formula!r} is not a formula") from error
        if not math.isfinite(energy_per_atom):
            raise ValueError(f"{where}: its energy is no number")
        system = _system(composition)
        if not system <= self.elements.keys():
            return  # no hull without its elements
        apart = sum(x * self.elements[e.symbol] for e, x in composition.items())
        formation = energy_per_atom - apart
        if formation < LOWEST_FORMATION:
            raise ValueError(
                f"{where}: its formation energy is {formation:.2f} eV/atom, lower than any crystal's: the table is "
                f"of another potential than {relaxation.POTENTIAL}, or not per atom"
            )
        self._entries.setdefault(system, []).append((composition, energy_per_atom))

    @classmethod
    def load(cls, path: str | Path = REFERENCE) -> "Hull":
        """The hull of a folder with a table and `elements.json`, or of a table and the shipped elements.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if it cannot be read, or as the constructor.
        """
        path = Path(path)
        table = path / TABLE if path.is_dir() else path
        elements = path / ELEMENTS if path.is_dir() else REFERENCE / ELEMENTS
        try:
            frame = pd.read_csv(table, keep_default_na=False)  # NaN is a formula
            references = json.loads(elements.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise
        except (ValueError, OSError, EOFError) as error:
            raise ValueError(f"{path}: not a table of reference energies: {error}") from error
        return cls(frame, references, str(table))

    @classmethod
    def from_crystals(cls, crystals: Sequence[tuple[str, Structure]], jobs: int = 1) -> "Hull":
        """The hull of any crystals, (material_id, structure) each, and the shipped elements.

        Crystals without an energy are left out; `reference_energies` says why.
        """
        table, _ = reference_energies({"crystals": crystals}, jobs)
        return cls(table, json.loads((REFERENCE / ELEMENTS).read_text(encoding="utf-8")))

    def covers(self, composition: Composition) -> bool:
        """Whether there is a reference crystal of exactly these elements; an element is one itself."""
        system = _system(composition)
        return system in self._entries or (len(system) == 1 and system <= self.elements.keys())

    def e_above_hull(self, composition: Composition, energy_per_atom: float) -> float:
        """Energy above the hull in eV/atom, negative for a crystal below all reference crystals.

        NaN if the energy is, or if an element has no reference energy.
        """
        system = sorted(_system(composition))
        if not set(system) <= self.elements.keys():
            return math.nan
        entries = [(Composition(element), self.elements[element]) for element in system]
        for size in range(1, len(system) + 1):
            for subset in combinations(system, size):
                entries += self._entries.get(frozenset(subset), ())
        # The hull's energy at a composition is that of the cheapest mixture of references that makes it.
        target = composition.fractional_composition
        mixture = linprog(
            [energy for _, energy in entries],
            A_eq=[[reference[element] for reference, _ in entries] for element in system],
            b_eq=[target[element] for element in system],
        )
        return float(energy_per_atom - mixture.fun)


def _system(composition: Composition) -> frozenset[str]:
    return frozenset(element.symbol for element in composition.elements)


def reference_energies(
    sources: dict[str, Iterable[tuple[str, Structure]]], jobs: int = 1
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """CHGNet single points of crystals as they stand.

    Args:
        sources: name of each source → its crystals, (material_id, structure) each.
        jobs: processes.

    Returns:
        The table a `Hull` takes, and the crystals that have no energy: source, material_id, reason.
    """
    crystals = [(source, *pair) for source, pairs in sources.items() for pair in pairs]
    tasks = {i: (structure,) for i, (_, _, structure) in enumerate(crystals)}
    results = tqdm(
        pool.as_done(relaxation.energy_per_atom, tasks, jobs, TIME_LIMIT),
        total=len(tasks), unit="crystal", disable=None, file=sys.stderr,
    )  # fmt: skip
    rows, rejected = [], []
    for i, energy, reason in sorted(results):
        source, material_id, structure = crystals[i]
        if reason:
            rejected.append((source, material_id, reason))
        else:
            formula = structure.composition.reduced_formula
            values = (formula, len(structure), round(energy, 6), relaxation.POTENTIAL)
            rows.append((source, material_id, *values))
    return (
        pd.DataFrame(rows, columns=[*COLUMNS, "potential"]),
        pd.DataFrame(rejected, columns=["source", "material_id", "reason"]),
    )


def reference(sources: Sequence[str], out: str | Path, jobs: int = 1) -> Summary:
    """Write the reference table of data sets or files; what has no energy goes to `OUT.rejected.csv`.

    Raises:
        ValueError, OSError: if a source cannot be read, or not one of its crystals has an energy.
    """
    out = Path(out)
    crystals, unread = {}, []
    for source in sources:
        crystals[source], rejected = datasets.structures(source)
        unread += [(source, item.material_id, f"{item.where}: {item.reason}") for item in rejected]
    table, rejected = reference_energies(crystals, jobs)
    rejected = pd.concat([pd.DataFrame(unread, columns=rejected.columns), rejected])
    sidecar = out.with_name(out.name.removesuffix(".gz").removesuffix(".csv") + ".rejected.csv")
    if len(rejected):
        with writing(sidecar) as temporary:
            rejected.to_csv(temporary, index=False)
        logging.getLogger(__name__).warning(
            "%d crystals have no energy; see %s", len(rejected), sidecar
        )
    if table.empty:
        raise ValueError(f"not one crystal of {', '.join(sources)} has an energy; see {sidecar}")
    with writing(out) as temporary:
        table.to_csv(temporary, index=False)
    return Summary(len(table), len(rejected))
