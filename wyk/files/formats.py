"""POSCAR, extended XYZ, and crystals as JSON, read by hand: no reader that imports or unpickles what a file names."""

import ast
import json
import re
from collections import Counter

import gemmi
import numpy as np

from wyk.crystals import MOST_ATOMS
from wyk.files.atoms import NUMBERS, Cell, cell, check_site
from wyk.files.sums import counted

LONGEST_REPR = 2**20  # characters of a Python dict; its syntax tree takes a hundred times as much
STRUCTURES = ("Structure", "StructureNL")
NESTED = ("structure", "attributes", "relaxed_structure", "final_structure")
FEATURES = {"disorder", "implicit_atoms", "site_attachments", "unknown_positions"}  # of OPTIMADE
FAULTS = (ValueError, TypeError, LookupError, OverflowError, RecursionError, AttributeError)


# --- POSCAR


def read_poscar(text: str) -> Cell:
    """A VASP POSCAR or CONTCAR.

    Raises:
        ValueError: what is none; elements neither in their line, nor behind the coordinates, nor in the comment.
    """
    lines = [line.split("!")[0].split("#")[0].strip() for line in text.splitlines()]
    try:
        scale = [float(word) for word in lines[1].split()[:3]]
        lattice = np.array([[float(w) for w in line.split()[:3]] for line in lines[2:5]])
        named = not lines[5].split()[0].isdecimal()
        symbols = [re.split(r"[_/.]", word)[0] for word in lines[5 if named else 0].split()]
        symbols = [word.capitalize() if word.islower() else word for word in symbols]
        at = 6 if named else 5
        counts = [int(word) for word in lines[at].split()]
        selective = lines[at + 1][:1] in ("S", "s")
        mode = lines[at + 2 if selective else at + 1][:1]
        n, start = sum(counts), at + (3 if selective else 2)
        if n > MOST_ATOMS:
            raise ValueError(f"{n:,} atoms in the cell; up to {MOST_ATOMS:,} can be read")
        rows = [line.split() for line in lines[start : start + n]]
        if len(rows) < n or any(len(row) < 3 for row in rows):
            raise ValueError(f"only a part of its {n} atoms")
        places = np.array([[float(word) for word in row[:3]] for row in rows]).reshape(-1, 3)
    except FAULTS as error:
        raise ValueError(f"not a POSCAR, or only a part of one ({error})") from error
    if lattice.shape != (3, 3) or not mode or min(counts, default=0) < 1:
        raise ValueError("not a POSCAR, or only a part of one")
    each = [symbol for symbol, count in zip(symbols, counts, strict=False) for _ in range(count)]
    behind = [row[3] for row in rows if len(row) > 3 and row[3] in NUMBERS]
    behind = behind if len(behind) == n and not selective else []
    if len(symbols) != len(counts) or not (named or set(symbols) <= NUMBERS.keys()):
        if not behind or named:
            raise ValueError(f"{len(counts)} counts of atoms, but their elements are not said")
        each = behind
    elif behind and behind != each:
        raise ValueError("the elements behind the coordinates are not those of the header")
    if len(scale) == 3:
        factor = np.array(scale)
    elif scale[0] < 0:  # a volume
        factor = (-scale[0] / max(abs(np.linalg.det(lattice)), 1e-9)) ** (1 / 3)
    else:
        factor = scale[0]
    cartesian = mode in "CcKk"
    return cell(lattice * factor, places * factor if cartesian else places, each, cartesian)


# --- extended XYZ


def read_extxyz(text: str) -> Cell:
    """One frame of extended XYZ.

    Raises:
        ValueError: no lattice, not periodic, no elements or positions among its columns.
    """
    lines = text.splitlines()
    comment = lines[1] if len(lines) > 1 else ""
    found = re.search(r"(?i)(?<!\w)lattice\s*=\s*[\"'{\[]([^\"'}\]]*)[\"'}\]]", comment)
    if found is None:
        raise ValueError("no Lattice in the second line: a molecule, not a crystal")
    periodic = re.search(
        r"""(?i)(?<!\w)pbc["']?\s*[=:]\s*("[^"]*"|'[^']*'|\{[^}]*\}|\[[^\]]*\]|\S+)""", comment
    )
    if periodic and not set(re.findall(r"\w+", periodic[1].lower())) <= {"t", "true", "1", "ttt"}:
        raise ValueError("not periodic in all directions (pbc)")
    try:
        n, columns, at = int(lines[0]), {}, 0
        described = re.search(r"(?<!\w)Properties\s*=\s*[\"']?([^\s\"']+)", comment)
        fields = (described[1] if described else "species:S:1:pos:R:3").split(":")
        for name, size in zip(fields[::3], fields[2::3], strict=True):
            columns[name.lower()] = slice(at, at := at + int(size))
        rows = [line.split() for line in lines[2 : 2 + n]]
        if len(rows) != n:
            raise ValueError(f"{len(rows)} of {n} atoms")
        places = [[float(word) for word in row[columns["pos"]]] for row in rows]
        which = columns.get("species", columns.get("element", columns.get("z")))
        symbols = [_symbol(row[which][0]) for row in rows]
        vectors = np.array(found[1].replace(",", " ").split(), float).reshape(3, 3)
        if {len(place) for place in places} - {3}:
            raise ValueError("not three coordinates each")
    except FAULTS as error:
        raise ValueError(f"not extended XYZ ({type(error).__name__}: {error})") from error
    return cell(vectors, places, symbols, cartesian=True)


def _symbol(word: object) -> str:
    """An element's symbol, also from its atomic number."""
    text = str(word)
    if text.isdecimal() and len(text) < 4 and int(text) in NUMBERS.values():
        return list(NUMBERS)[int(text) - 1]
    return text


# --- JSON


def read_json(text: str) -> Cell:
    """pymatgen's JSON of a Structure, or of an entry with one; an OPTIMADE structure; JARVIS's atoms.

    Raises:
        ValueError: what is none of them; disorder.
    """
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        data = _python(text)
        if data is None:
            raise ValueError(
                f"not pymatgen's JSON of a Structure ({type(error).__name__}: {error})"
            ) from error
    return from_data(data)


def _python(text: str) -> object:
    """A dict as Python prints it, without running anything; None if it is none."""
    if not re.match(r"\s*\{\s*'", text) or len(text) > LONGEST_REPR:
        return None
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return None


def is_crystal(data: object) -> bool:
    """Whether something from JSON is meant as a crystal."""
    if not isinstance(data, dict):
        return False
    marks = (
        ("lattice", "sites"),
        ("lattice_vectors", "cartesian_site_positions"),
        ("lattice_mat", "coords"),
    )
    return (
        data.get("@class") in STRUCTURES
        or any(all(mark in data for mark in pair) for pair in marks)
        or any(is_crystal(data.get(name)) for name in NESTED)
    )


def from_data(data: object) -> Cell:
    """The crystal in what `read_json` or a table's columns give."""
    for _ in range(3):  # an entry with a structure, a response with attributes
        inner = next((data[name] for name in NESTED if _has(data, name)), None)
        if inner is None:
            break
        data = inner
    if _has(data, "lattice_vectors"):
        try:
            return _optimade(data)
        except FAULTS as error:
            if type(error) is ValueError:  # says what is wrong
                raise
            reason = f"{type(error).__name__}: {error}"
            raise ValueError(f"not an OPTIMADE structure ({reason})") from error
    try:
        if _has(data, "lattice_mat"):
            cartesian = data.get("cartesian") in (True, "true", "True")
            symbols = [str(symbol).strip() for symbol in data["elements"]]
            return cell(data["lattice_mat"], data["coords"], symbols, cartesian)
        if data.get("@class", "Structure") not in STRUCTURES:
            raise ValueError(f"its class is {data['@class']}")
        lattice, sites = _vectors(data["lattice"]), data["sites"]
        periodic = [bool(along) for along in data["lattice"].get("pbc") or [True]]
        if len(sites) > MOST_ATOMS:
            raise ValueError(f"{len(sites):,} atoms in the cell; up to {MOST_ATOMS:,} can be read")
        species = [
            [(str(s["element"]), float(s["occu"])) for s in site["species"]] for site in sites
        ]
        fractional = np.array([site["abc"] for site in sites], float).reshape(-1, 3)
    except FAULTS as error:
        reason = f"{type(error).__name__}: {error}"
        raise ValueError(f"not pymatgen's JSON of a Structure ({reason})") from error
    if not all(periodic):
        raise ValueError(f"periodic in {sum(periodic)} directions only")
    labels = tuple(f"{'/'.join(name for name, _ in s)}{i}" for i, s in enumerate(species))
    for label, site in zip(labels, species, strict=True):
        if len(site) != 1:
            raise ValueError(f"{len(site)} species on site {label}; ordered structures only")
        check_site(label, *site[0])
    numbers = np.array([NUMBERS[site[0][0]] for site in species])
    return Cell(lattice, fractional, numbers)


def _has(data: object, name: str) -> bool:
    return isinstance(data, dict) and isinstance(data.get(name), dict | list)


def _vectors(lattice: dict) -> np.ndarray:
    if "matrix" in lattice:
        return np.array(lattice["matrix"], float).reshape(3, 3)
    parameters = [float(lattice[name]) for name in ("a", "b", "c", "alpha", "beta", "gamma")]
    return np.array(gemmi.UnitCell(*parameters).orth.mat.tolist()).T


def _optimade(data: dict) -> Cell:
    """An OPTIMADE structure's attributes; `species` may be missing, or JSON as text, as in LeMat-Bulk.

    Raises:
        ValueError: disorder, atoms without places, no crystal in three directions, other atoms than are claimed.
    """
    periodic = data.get("dimension_types") or [1, 1, 1]
    directions = data.get("nperiodic_dimensions")
    for n in (sum(map(int, periodic)), 3 if directions is None else int(directions)):
        if n != 3:
            raise ValueError(f"periodic in {n} directions only")
    if features := FEATURES & set(data.get("structure_features") or ()):
        raise ValueError(
            f"{', '.join(sorted(features))} (structure_features); all atoms are needed"
        )
    at_sites = [str(name) for name in data["species_at_sites"]]
    if data.get("nsites") is not None and int(data["nsites"]) != len(at_sites):
        raise ValueError(f"{len(at_sites)} sites, but nsites is {data['nsites']}")
    species = data.get("species") or []
    species = json.loads(species) if isinstance(species, str) else species
    kinds = {str(kind["name"]): kind for kind in species}
    elements = {name: _element(name, kinds.get(name)) for name in dict.fromkeys(at_sites)}
    each = [elements[name] for name in at_sites]
    crystal = cell(data["lattice_vectors"], data["cartesian_site_positions"], each, cartesian=True)
    if formula := data.get("chemical_formula_reduced"):
        claimed, counts = counted(str(formula)), Counter(crystal.numbers.tolist())
        if {z: n / sum(counts.values()) for z, n in counts.items()} != {
            z: n / sum(claimed.values()) for z, n in claimed.items()
        }:
            raise ValueError(f"its atoms are not those of its chemical_formula_reduced, {formula}")
    return crystal


def _element(name: str, kind: dict | None) -> str:
    """The element of an OPTIMADE species; its name if it is not described."""
    if kind is None:
        return name
    elements = [str(symbol) for symbol in kind["chemical_symbols"]]
    shares = [float(share) for share in kind.get("concentration") or [1]]
    if kind.get("attached") or any(kind.get("nattached") or ()):
        raise ValueError(f"atoms attached to site {name} that have no coordinates")
    if len(elements) != 1:
        raise ValueError(f"{len(elements)} elements on site {name}; ordered structures only")
    check_site(name, elements[0], shares[0])
    return elements[0]
