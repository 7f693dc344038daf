"""What comes out of a file of crystals: a crystal as text, a row that cannot be used, a file that is no crystal."""

import contextlib
import json
import re
from dataclasses import dataclass, field

import numpy as np

LARGEST = 16 * 2**20  # bytes of one crystal's text; real ones stay below 1 MB, zip bombs do not
COLUMNS = (  # of crystals, the first that a table has counts
    "cif", "structure", "relaxed_structure", "relaxed_cif", "final_structure", "optimized_structure",
    "cif_str", "cif_string", "cif_text", "cif_content", "material_cif", "generated_cif", "gen_cif", "pred_cif",
    "structure_str", "structure_json", "structure_dict", "structure_cif", "structure_as_dict", "struct",
    "generated_structure", "gen_structure", "predicted_structure", "pred_structure", "pymatgen_structure",
    "crystal", "crystal_str", "crystal_structure", "crystal_cif", "cifs", "structures", "atoms", "jarvis_atoms",
    "initial_structure", "unrelaxed_structure", "poscar", "poscar_str", "extxyz",
)  # fmt: skip
OPTIMADE = ("lattice_vectors", "cartesian_site_positions", "species_at_sites")
OPTIMADE_MORE = (  # that may stand beside them
    "species", "dimension_types", "nperiodic_dimensions", "structure_features", "nsites", "chemical_formula_reduced",
)  # fmt: skip
IDS = ("material_id", "immutable_id", "id", "mp_id", "structure_id", "crystal_id", "jid", "mat_id")
EXTRA_COLUMNS = {  # column → name under which it is carried through, and its kind
    "spacegroup.number": ("spacegroup.number", np.int64),
    "e_above_hull": ("e_above_hull", float),
    "energy_above_hull": ("e_above_hull", float),  # MPTS-52
}


@dataclass(frozen=True)
class Record:
    """One crystal as text.

    Attributes:
        where: for messages, such as `file.csv: row 212 (mp-1234)`; rows count from 1 below the header.
        material_id: the row's own, or its row number, or the name of its file.
        text: in the format.
        format: "cif", "json", "poscar" or "extxyz"; see `cells.READERS`.
        extras: `spacegroup.number` and `e_above_hull` (eV/atom) where the source has them.
    """

    where: str
    material_id: str
    text: str
    format: str
    extras: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Rejected:
    """One crystal that cannot be used, and why."""

    where: str
    material_id: str
    reason: str


@dataclass(frozen=True)
class LeftOut:
    """A file beside the crystals, in a folder or archive, that is none and counts as no sample."""

    where: str
    name: str
    reason: str


class DamagedError(ValueError):
    """A file of several crystals that breaks off; what follows the file's name in a message."""


class NoCrystalsError(ValueError):
    """A file that was not made to hold crystals; what follows the file's name in a message."""


def crystal_column(header: list[str]) -> str | None:
    """The column with the crystals, OPTIMADE's lattice vectors if that is how they stand there; None without."""
    names = {}
    for column in header:
        names.setdefault(str(column).strip().lower(), column)
    if found := next((names[name] for name in COLUMNS if name in names), None):
        return found
    return OPTIMADE[0] if set(OPTIMADE) <= set(header) else None


def no_column(header: list[str]) -> NoCrystalsError:
    """What to say of a table without crystals."""
    names = ", ".join(map(str, header))[:200] or "none"
    return NoCrystalsError(
        f"has no column `cif` or `structure` with crystals, nor one of the other usual names; its columns: {names}"
    )


def wanted_columns(column: str, header: list[str]) -> set[str]:
    """The columns that `row` looks at."""
    more = {*OPTIMADE, *OPTIMADE_MORE} if column == OPTIMADE[0] else set()
    return {column, "reason", *IDS, *EXTRA_COLUMNS, *more} & set(header)


def row(where: str, number: int, column: str, values: dict, prefix: str = "") -> Record | Rejected:
    """The crystal of a row of a table.

    Args:
        where: for messages, without the crystal's name.
        number: of the row.
        column: see `crystal_column`.
        values: column → value.
        prefix: of the material_id, where the row has none of its own.
    """
    names = (
        " ".join(str(values[name]).split()) for name in IDS if values.get(name) not in (None, "")
    )
    material_id = next(filter(None, names), "")[:300]
    where += f" ({material_id})" if material_id else ""
    material_id = material_id or f"{prefix}{number}"
    value = values.get(column)
    if column == OPTIMADE[0] and value:
        value = {name: _decoded(values.get(name)) for name in (*OPTIMADE, *OPTIMADE_MORE)}
    if not value:
        reason = values.get("reason") or f"nothing in column `{column}`"
        return Rejected(where, material_id, str(reason))  # our own crystals say why there is none
    if isinstance(value, dict):
        value = json.dumps(value, default=str)
    if isinstance(value, bytes):
        value = value.decode("utf-8", errors="replace")
    if not isinstance(value, str) or len(value) > LARGEST:
        return Rejected(where, material_id, f"no text of at most {LARGEST >> 20} MB in `{column}`")
    extras = {}
    for name, (target, kind) in EXTRA_COLUMNS.items():
        # absent, empty, not a number, or infinite
        with contextlib.suppress(KeyError, TypeError, ValueError, OverflowError):
            extras[target] = kind(float(values[name]))
    return Record(where, material_id, value, _format(value, column.lower()), extras)


def _decoded(value: object) -> object:
    """A list that stands as text in a CSV."""
    if isinstance(value, str):
        with contextlib.suppress(ValueError, RecursionError):
            return json.loads(value)
    return value


def _format(text: str, column: str) -> str:
    start = text[:2000].lstrip()
    if start[:1] in ("{", "["):
        return "json"
    if "_cell" in start or re.search(r"(?im)^\s*data_", start):
        return "cif"
    if re.match(r"\d+\s*\n.*lattice\s*=", start, re.IGNORECASE):
        return "extxyz"
    if column.startswith("poscar") or re.match(
        r".*\n\s*-?[\d.]+\s*\n(\s*-?\d\S*){3}\s*\n", text[:2000]
    ):
        return "poscar"
    return "json" if column == "structure" else "cif"
