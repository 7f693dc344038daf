"""From a CIF to the atoms in the unit cell, if its parts do not contradict one another.

A CIF says several times which atoms there are: sites and operations, the group's name, formula and Z, multiplicities.
A reading that agrees with all of that is taken. Where the parts disagree, another reading of the same words is taken if
formula and Z or the multiplicities confirm it and no other; else the file is refused.
"""

import re
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from math import gcd, inf, isfinite

import gemmi
import numpy as np
from gemmi.cif import as_number as number  # also with its uncertainty in brackets; NaN for none

from wyk.common import ELEMENTS
from wyk.crystals import MOST_ATOMS
from wyk.files import cif_elements, cif_symmetry
from wyk.files.atoms import NUMBERS, Cell, check_site
from wyk.files.cif_tags import Tags
from wyk.files.images import images_of
from wyk.files.settings import Setting
from wyk.files.sums import counted

SITE = tuple(f"_atom_site_fract_{axis}" for axis in "xyz")
MULTIPLICITIES = ("_atom_site_symmetry_multiplicity", "_atom_site_site_symmetry_multiplicity")
WYCKOFF = ("_atom_site_wyckoff_symbol", "_atom_site_wyckoff_label")
VOLUME = 0.05  # of the stated one; rounded lengths and thermal expansion change less
FORMULA, WEIGHT = "_chemical_formula_sum", "_chemical_formula_weight"
OTHER_FORMULAS = tuple(f"_chemical_formula_{name}" for name in ("structural", "moiety", "iupac"))


def read_cif(text: str) -> Cell:
    """All atoms in the unit cell of a CIF.

    Raises:
        ValueError: not a CIF of one crystal; no cell or atoms in it; partial occupancy, deuterium or an unknown
            element; symmetry that cannot be applied; parts that contradict one another.
    """
    tags, others = _crystal(text)
    lattice = _lattice(tags)
    sites = _sites(tags)
    claims = _claims(tags, others)
    if NUMBERS.keys() >= set(sites.types):
        meant, possible = [sites.types], []
    else:
        formula = bool(claims.formula)
        meant, possible = cif_elements.readings(sites.symbols, sites.labels, formula)
    for symbols in meant:
        if not claims.formula:
            cif_elements.check_labels(sites.labels, sites.types, symbols)
        if sites.occupancies or symbols is not sites.types:
            occupancies = sites.occupancies or [1.0] * len(symbols)
            for site in zip(sites.labels, symbols, occupancies, strict=True):
                check_site(*site)
    symmetry = cif_symmetry.readings(tags, lattice @ lattice.T)
    weighing = _Weighing(lattice, sites.places, claims)
    first = weighing.fitting(symmetry.stated, meant)
    if not first and possible:
        first = weighing.fitting(symmetry.stated, possible)
    if not first and (claims.formula or claims.multiplicities is not None):
        first = weighing.fitting(symmetry.others(), meant + possible)
        if first and not (claims.decisive or weighing.rejected):
            first = []
    if not first:
        raise ValueError(symmetry.complaint or weighing.complaint)
    if len(first) > 1:
        each = [f"{s.name} with {_written(Counter(c.numbers.tolist()))}" for s, c in first]
        names = " or ".join(dict.fromkeys(each))
        raise ValueError(
            f"it may mean {names}; neither operations nor formula, Z or multiplicities say which"
        )
    return first[0][1]


# --- what the file lists


@dataclass(frozen=True)
class _Sites:
    labels: list[str]
    types: list[str]
    places: np.ndarray
    occupancies: list[float] | None  # None if all are 1

    @property
    def symbols(self) -> list[tuple[str, bool]]:
        """Of each, its type symbol and True, or its label and False."""
        both = zip(self.types, self.labels, strict=True)
        return [(kind, True) if kind else (label, False) for kind, label in both]


def _crystal(text: str) -> tuple[Tags, list[Tags]]:
    """The block that holds the crystal, and the others."""
    try:
        try:
            blocks = list(gemmi.cif.read_string(text))
        except Exception as error:
            if "duplicate" not in str(error):
                raise
            blocks = list(gemmi.cif.read_string(text, 0))  # a tag twice is judged by its values
    except Exception as error:  # of several kinds, raised through C++
        raise ValueError(f"not a CIF: {error}") from error
    crystals, others = [], []  # without a template's block, whose sites are all `?`
    for block in blocks:
        tags = Tags(block)
        if any(tags.column(SITE[0])) or any(any(tags.column(tag)) for tag in SITE[1:]):
            crystals.append(tags)
        else:
            others.append(tags)
    if not crystals:
        raise ValueError("no atoms in the CIF")
    if len(crystals) > 1:
        raise ValueError(f"{len(crystals)} crystals in one CIF; one each, please")
    if others and not cif_symmetry.is_said(crystals[0]):
        for tags in others:
            if tag := cif_symmetry.promise(tags):
                raise ValueError(f"its symmetry stands in another data block ({tag})")
    return crystals[0], others


def _lattice(tags: Tags) -> np.ndarray:
    lengths = [tags.text(f"_cell_length_{axis}") for axis in "abc"]
    angles = [tags.text(f"_cell_angle_{angle}") or "90" for angle in ("alpha", "beta", "gamma")]
    values = list(map(number, lengths + angles))  # 90 is what the dictionary has for no angle
    if not all(lengths) or not all(value > 0 or value != value for value in values):
        raise ValueError("no unit cell in the CIF")
    if not all(map(isfinite, values)):
        raise ValueError("NaN or infinite numbers in cell or coordinates")
    cell = gemmi.UnitCell(*values)
    if not cell.is_crystal():
        raise ValueError("no unit cell in the CIF")
    stated = number(tags.text("_cell_volume"))
    if stated > 0 and abs(cell.volume - stated) > VOLUME * stated:
        raise ValueError(f"the cell has {cell.volume:.4g} Å³, but {stated:.4g} Å³ are stated")
    return np.array(cell.orth.mat.tolist()).T


def _sites(tags: Tags) -> _Sites:
    x, y, z = map(tags.column, SITE)
    n = len(x)
    if n > MOST_ATOMS:
        raise ValueError(f"{n:,} sites; up to {MOST_ATOMS:,} can be read")
    names = tags.column("_atom_site_label") or [""] * n
    types = tags.column("_atom_site_type_symbol") or [""] * n
    occupied = tags.column("_atom_site_occupancy")
    if not len(y) == len(z) == len(names) == len(types) == (len(occupied) or n) == n:
        raise ValueError("sites without all their coordinates")
    if "dum" in map(str.lower, tags.column("_atom_site_calc_flag")):
        raise ValueError("dummy atoms (_atom_site_calc_flag dum)")
    groups = set(tags.column("_atom_site_disorder_group")) - {"", "0"}
    if len(groups) > 1:
        raise ValueError(f"disorder ({len(groups)} groups of it); ordered structures only")
    if any(number(text) > 0 for text in tags.column("_atom_site_attached_hydrogens")):
        raise ValueError("hydrogen atoms that have no coordinates (_atom_site_attached_hydrogens)")
    labels = names if all(names) else [a or b or "?" for a, b in zip(names, types, strict=True)]
    full = all(text == "1" for text in occupied)
    occupancies = None if full else [number(text) if text else 1.0 for text in occupied]
    places = np.array([number(text) for text in x + y + z]).reshape(3, n).T.copy()
    if not isfinite(places.sum()):
        for label, place in zip(labels, places, strict=True):
            if not np.isfinite(place).all():
                raise ValueError(f"no finite coordinates on site {label}")
    return _Sites(labels, types, places, occupancies)


# --- what it says about them


@dataclass(frozen=True)
class _Claims:
    """What a file says of the atoms that its sites and symmetry give.

    Attributes:
        formula: atomic number → how many; empty if not said.
        units: Z, how many of these in the cell; None if not said.
        multiplicities: of each site, NaN where not said; None if nowhere.
        weight: of a formula unit, g/mol, NaN if not said; counts only without a formula.
    """

    formula: dict[int, float]
    units: float | None
    multiplicities: list[float] | None
    weight: float

    @property
    def decisive(self) -> bool:
        """Whether they say how many atoms there are, not only in which proportions."""
        return bool(self.formula and self.units) or self.multiplicities is not None

    def denied(self, images: list[int], numbers: list[int], order: int) -> str | None:
        """Why sites with so many images each, of a group with so many operations, are not those meant."""
        if self.multiplicities is not None and self.multiplicities != images:
            both = zip(self.multiplicities, images, strict=True)
            said = [(m, n) for m, n in both if m != n and m == m]
            # some programs write the order of the site symmetry there
            if said and any(
                abs(m - order / n) > 0.01 for m, n in zip(self.multiplicities, images, strict=True)
            ):
                m, n = said[0]
                return f"a site has {n} images, but its multiplicity is given as {m:g}"
        counts = Counter()
        for z, n in zip(numbers, images, strict=True):
            counts[z] += n
        if self.formula:
            if self.formula.keys() == counts.keys() and self._counted(counts):
                return None
            units = f" with Z = {self.units:g}" if self.units else ""
            return f"the cell holds {_written(counts)}, but the formula is {_written(self.formula)}{units}"
        if self.weight > 0:
            weight = sum(gemmi.Element(z).weight * n for z, n in counts.items())
            weight /= self.units or max(1, round(weight / self.weight))
            if abs(weight - self.weight) > 0.05 + 0.001 * self.weight:  # hydrogen has 1
                return f"a formula unit weighs {weight:.2f} g/mol, but {self.weight:g} is stated"
        if self.units and gcd(*counts.values()) % self.units:
            return f"the cell holds {_written(counts)}, which is not {self.units:g} formula units"
        return None

    def _counted(self, counts: dict[int, int]) -> bool:
        if counts == self.formula and self.units in (None, 1):
            return True
        whole = all(float(n).is_integer() for n in self.formula.values())

        def close(count: float, said: float) -> bool:
            return abs(count - said) <= (1e-6 if whole else 0.02) * max(said, 1)

        if not self.units:  # then some whole number of them
            times = max(1, round(sum(counts.values()) / sum(self.formula.values())))
            return all(close(counts[z], n * times) for z, n in self.formula.items())
        in_cell = [self.units]
        if whole and gcd(*map(int, self.formula.values())) % self.units == 0:
            in_cell.append(1)  # pymatgen and ASE write all atoms of the cell as the formula
        return any(all(close(counts[z], n * k) for z, n in self.formula.items()) for k in in_cell)


def _claims(tags: Tags, others: list[Tags]) -> _Claims:
    chemistry = [t for t in (tags, *others) if t.texts((FORMULA, WEIGHT))]
    chemist = (
        chemistry[0] if len(chemistry) == 1 else tags
    )  # some programs give it a block of its own
    units = number(tags.text("_cell_formula_units_z") or tags.text("_cell_z"))
    said = next((c for tag in MULTIPLICITIES if any(c := tags.column(tag))), None)
    if said is None:  # 4a says it, too; letters alone depend on the setting
        symbols = next((c for tag in WYCKOFF if any(c := tags.column(tag))), [])
        said = [re.sub(r"\D.*", "", symbol.strip()) for symbol in symbols] or None
    multiplicities = None
    if said is not None and len(said) == len(tags.column("_atom_site_fract_x")):
        multiplicities = list(map(number, said))
        multiplicities = multiplicities if any(m == m for m in multiplicities) else None
    formula = _formula(chemist)
    weight = number(chemist.text(WEIGHT))
    return _Claims(formula, units if 0 < units < inf else None, multiplicities, weight)


def _formula(tags: Tags) -> dict[int, float]:
    """Atomic number → how many, of the sum formula, or of another one if there is none; empty without."""
    if text := tags.text(FORMULA):
        return counted(text)
    for tag in OTHER_FORMULAS:
        with suppress(ValueError):  # they may be anything
            if text := tags.text(tag):
                return counted(text)
    return {}


def _written(counts: dict[int, float]) -> str:
    return " ".join(f"{ELEMENTS[z - 1]}{n:g}" for z, n in sorted(counts.items())[:20])


# --- which reading agrees


class _Weighing:
    """The crystals that sites give under one setting or another, and whether the file's claims deny them.

    Attributes:
        complaint: why the first one that was denied was.
        rejected: whether any was.
    """

    def __init__(self, lattice: np.ndarray, places: np.ndarray, claims: _Claims):
        self.lattice, self.places, self.claims = lattice, places, claims
        self.complaint, self.rejected = "", False

    def fitting(
        self, settings: Iterable[Setting], elements: list[list[str]]
    ) -> list[tuple[Setting, Cell]]:
        """Setting and crystal of each different reading that nothing denies."""
        found, seen = [], set()
        for setting in settings:
            if setting.key in seen:
                continue
            seen.add(setting.key)
            places, images = images_of(setting, self.lattice, self.places)
            for symbols in elements:
                numbers = [NUMBERS[symbol] for symbol in symbols if symbol in NUMBERS]
                if len(numbers) < len(symbols):
                    reason = "a site that is no element"
                else:
                    reason = self.claims.denied(images, numbers, len(setting.rotations))
                if reason:
                    self.rejected = True
                    self.complaint = self.complaint or reason
                else:
                    cell = Cell(self.lattice, places, np.repeat(np.array(numbers), images))
                    found.append((setting, cell))
        return found
