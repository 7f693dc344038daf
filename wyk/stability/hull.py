"""Energy above the convex hull of reference crystals (paper, §4)."""

import json
import math
import zlib
from collections.abc import Iterable
from importlib.resources import files
from itertools import combinations
from pathlib import Path

import pandas as pd
from pymatgen.core import Composition
from scipy.optimize import linprog

from wyk import relaxation
from wyk.common import IMPLAUSIBLE, STABLE
from wyk.crystals import from_table

REFERENCE = Path(str(files("wyk.stability").joinpath("reference")))  # shipped: see its README.md
TABLE, ELEMENTS = "chgnet_energies.csv.gz", "elements.json"
COLUMNS = ("source", "material_id", "formula", "n_atoms", "energy_per_atom")
OPTIMISM = (
    "shares of stable crystals are about 7 percentage points too high: 55% instead of 48% of 992 crystals whose "
    "E_hull against the whole Materials Project is known (wyk/stability/reference/README.md)"
)
LOWEST_FORMATION = -6.0  # eV/atom; the lowest of 36,961 reference crystals is -4.47


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
            composition = Composition(str(formula))
            if not 0 < composition.num_atoms < math.inf:
                raise ValueError("no atoms, or too many")
        except ValueError as error:
            raise ValueError(f"{where}: {formula!r} is not a formula") from error
        composition = composition.fractional_composition
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
            references = json.loads(elements.read_text(encoding="utf-8"))
        except json.JSONDecodeError as error:
            raise ValueError(f"{elements}: not energies of elements: {error}") from error
        return cls(read_table(table), references, str(table))

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

    def judge(self, formulas: Iterable[str | None], energies: Iterable[float]) -> dict[str, list]:
        """How candidates stand to the hull, as columns of a table.

        Args:
            formulas: of each candidate; None where there is no composition to speak of.
            energies: eV/atom; NaN where there is no crystal.

        Returns:
            `e_above_hull` (eV/atom, negative below the hull, NaN without an energy), `hull_covered`, and
            `implausible`: below the hull by more than IMPLAUSIBLE, which tells of a hole in the hull or a broken
            relaxation rather than of a discovery.
        """
        above, covered = [], []
        for formula, energy in zip(formulas, energies, strict=True):
            composition = None if formula is None else Composition(formula)
            known = composition is not None and math.isfinite(energy)
            covered.append(composition is not None and self.covers(composition))
            above.append(self.e_above_hull(composition, energy) if known else math.nan)
        implausible = [value < IMPLAUSIBLE for value in above]
        return {"e_above_hull": above, "hull_covered": covered, "implausible": implausible}


def stable(crystals: pd.DataFrame) -> pd.Series:
    """Which crystals have converged below STABLE, and not so far below the hull that something is wrong.

    Args:
        crystals: with `converged` and the columns of `Hull.judge`.
    """
    return (crystals["e_above_hull"] < STABLE) & crystals["converged"] & ~crystals["implausible"]


def judged(crystals: pd.DataFrame, hull: Hull) -> pd.DataFrame:
    """A table of crystals with the columns of `Hull.judge`.

    Args:
        crystals: columns of a representation, and `energy_per_atom`, eV.
        hull: of the same potential.
    """
    formulas = [None if r.invalidity() else r.formula for r in from_table(crystals)]
    return crystals.assign(**hull.judge(formulas, crystals["energy_per_atom"]))


def read_table(path: Path) -> pd.DataFrame:
    """A table of energies, as `Hull` takes it.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no CSV.
    """
    try:
        return pd.read_csv(path, keep_default_na=False)  # NaN is a formula
    except FileNotFoundError:
        raise
    except (ValueError, OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path}: not a table of reference energies: {error}") from error


def _system(composition: Composition) -> frozenset[str]:
    return frozenset(element.symbol for element in composition.elements)
