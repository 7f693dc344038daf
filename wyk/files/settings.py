"""The space groups in all their settings: by name as people write it, by number and code, by operations."""

import re
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache

import gemmi
import numpy as np


@dataclass(frozen=True, eq=False)
class Setting:
    """A space group in one of its settings.

    Attributes:
        name: for messages.
        number: of the group, 0 if gemmi's tables do not have the setting.
        rotations: (n, 3, 3) whole numbers that act on columns of fractional coordinates.
        translations: (n, 3).
        key: the same for the same operations.
    """

    name: str
    number: int
    rotations: np.ndarray
    translations: np.ndarray
    key: frozenset

    def misfit(self, metric: np.ndarray) -> float:
        """How far the operations are from leaving a cell's metric (3, 3) as it is, relative to it."""
        if len(self.rotations) == 1:
            return 0.0
        turned = self.turns.transpose(0, 2, 1) @ metric @ self.turns
        lengths = np.sqrt(metric.diagonal())
        return float((np.abs(turned - metric) / lengths / lengths[:, None]).max())

    @cached_property
    def turns(self) -> np.ndarray:
        """The rotations without those that do the same to a lattice."""
        each = {max(tuple(r), tuple(-r)) for r in self.rotations.reshape(-1, 9)}
        return np.array(sorted(each), float).reshape(-1, 3, 3)

    def kinds(self) -> list[tuple[int, int]]:
        """Determinant and trace of each operation, sorted: the same in each setting of a group."""
        traces = np.trace(self.rotations, axis1=1, axis2=2)
        return sorted(zip(np.linalg.det(self.rotations).round(), traces, strict=True))


def _setting(name: str, number: int, operations: list[gemmi.Op]) -> Setting:
    wrapped = {op.wrap().triplet(): op for op in operations}  # in order, each once
    rotations = np.array([op.rot for op in wrapped.values()]) // gemmi.Op.DEN
    translations = np.array([op.tran for op in wrapped.values()]) / gemmi.Op.DEN
    return Setting(name, number, rotations, translations, frozenset(wrapped))


@cache
def of_group(name: str) -> Setting:
    """The setting with this extended Hermann-Mauguin name, such as `F d -3 m:1`."""
    group = next(g for g in gemmi.spacegroup_table() if g.xhm() == name)
    return _setting(name, group.number, list(group.operations()))


@lru_cache(1000)
def of_operations(texts: tuple[str, ...]) -> Setting:
    """The setting with these operations, each as `x,y,z`.

    Raises:
        ValueError: if one cannot be read, or together they are no group.
    """
    try:
        operations = [gemmi.Op(text) for text in texts]
    except Exception as error:
        raise ValueError(f"an operation that cannot be read ({str(error)[:80]})") from error
    identity = {op.triplet() for op in operations} == {"x,y,z"}
    if identity and texts != ("x,y,z",):
        return P1
    group = gemmi.find_spacegroup_by_ops(gemmi.GroupOps(operations))
    name = "P 1" if identity else f"{len(texts)} operations"
    found = _setting(name, group.number if group else 0, operations)
    if np.abs(np.linalg.det(found.rotations)).round(6).min() != 1:
        raise ValueError("an operation that changes volumes")
    if (group is None or found.key != of_group(group.xhm()).key) and not _closed(found):
        raise ValueError(f"{len(texts)} operations that are no group")
    return found


def _closed(setting: Setting) -> bool:
    """Whether each product of two operations is one of them."""
    n, size = len(setting.rotations), gemmi.Op.DEN
    shifts = np.rint(setting.translations * size).astype(int)

    def codes(rotations: np.ndarray, translations: np.ndarray) -> np.ndarray:
        parts = np.concatenate(
            [rotations.reshape(-1, 9) + 5, translations.reshape(-1, 3) % size], 1
        )
        return parts @ (size ** np.arange(12, dtype=object)).astype(object)

    known, every = set(codes(setting.rotations, shifts)), np.arange(n)
    for i in every:
        product = setting.rotations[i] @ setting.rotations
        if np.abs(product).max() > 5:
            return False
        moved = shifts @ setting.rotations[i].T + shifts[i]
        if not known.issuperset(codes(product, moved)):
            return False
    return True


# --- names


@cache
def _table() -> dict[str, list[gemmi.SpaceGroup]]:
    """Names without blanks, in small letters → the settings that they can mean, unique axis b first."""
    table: dict[str, list[gemmi.SpaceGroup]] = {}
    for group in gemmi.spacegroup_table():
        table.setdefault(group.hm.replace(" ", "").lower(), []).append(group)
    for group in sorted(gemmi.spacegroup_table(), key=lambda g: not g.qualifier.startswith("b")):
        lattice, *axes = group.hm.split()
        if group.crystal_system_str() == "monoclinic" and axes.count("1") == 2:
            short = lattice + next(axis for axis in axes if axis != "1")
            table.setdefault(short.lower(), []).append(group)
    return table


@lru_cache(1000)
def named(name: str) -> tuple[Setting, ...]:
    """The settings that a Hermann-Mauguin name can mean; none if it is unknown.

    Short monoclinic names mean any axis, names without a suffix either origin, or either axes of R groups.
    """
    key = re.sub(r"[\s_'\"~]", "", name).lower()
    key = re.sub(r"(?:\(\d{2,3}\)|\(?(?:#|,?no\.?)\d{1,3}\)?)$", "", key)  # its number
    key = re.sub(r"\((\d)\)", r"\1", key)
    origin = re.fullmatch(
        r"(.+?)(?:(?::o?|\(?origin(?:choice)?|,?choice)([12])\)?|[:(]?([hrsz])\)?)", key
    )
    suffix = ""
    if origin and key not in _table():
        key, suffix = origin[1], (origin[2] or origin[3]).upper()
        suffix = {"S": "1", "Z": "2"}.get(suffix, suffix)
    plain, colon, qualifier = key.partition(":")
    if plain not in _table():
        plain = re.sub(r"([346])-(?!\d)", r"-\1", plain)  # F m 3- m
    groups = []
    barred = re.sub(r"([346])-", r"-\1", plain)  # P 4- 3 m
    for spelling in (plain, _shortened(plain), barred):
        if spelling.isdigit():  # which gemmi would take as a number
            continue
        found = gemmi.find_spacegroup_by_name(spelling)  # knows e glides, and m 3 m
        other = found.hm.replace(" ", "").lower() if found else ""
        groups = groups or _table().get(spelling) or _table().get(other, [])
    if suffix and any(g.ext == suffix for g in groups):
        groups = [g for g in groups if g.ext == suffix]
    if colon:
        groups = [g for g in groups if coded(g, qualifier)]
    return tuple(of_group(g.xhm()) for g in groups)


def _shortened(key: str) -> str:
    """`f4/m-32/m` as `fm-3m`: of axes along planes a short name keeps only the first of 4 and 6."""
    head = re.match(r"[a-z](?:4[123]?|6[1-5]?)/[a-z](?!-3)", key)
    kept = head[0] if head else ""
    return kept + re.sub(r"(?:2|21|4[123]?|6[1-5]?)/([a-z])", r"\1", key[len(kept) :])


def coded(group: gemmi.SpaceGroup, code: str) -> bool:
    """Whether a setting is that of a coordinate-system code, such as 1, h, b2, -cba or 2cab."""
    ext, qualifier = group.ext.strip("\0").lower(), group.qualifier
    orthorhombic = group.crystal_system_str() == "orthorhombic"
    mine = {ext, qualifier, ext + qualifier, ext + (qualifier or "abc") if orthorhombic else ext}
    if len(qualifier.lstrip("-")) == 2:  # b for b1
        mine |= {qualifier[:-1]} if qualifier.endswith("1") else set()
    return code.lower() in mine - {""}


def numbered(number: int, code: str | None) -> tuple[Setting, ...]:
    groups = [g for g in gemmi.spacegroup_table() if g.number == number]
    if code is not None:
        groups = [g for g in groups if coded(g, code)]
        standard = [g for g in groups if g.ext.strip("\0").lower() + g.qualifier == code.lower()]
        groups = standard or groups
    return tuple(of_group(g.xhm()) for g in groups)


P1 = of_operations(("x,y,z",))
