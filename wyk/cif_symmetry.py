"""The symmetry that a CIF states: in which tags, and which settings of which group its words can mean."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from operator import itemgetter

import gemmi
import numpy as np

from wyk.cif_tags import Tags

MOST_OPERATIONS = 192  # of symmetry, in a conventional cell: those of the groups 225 to 228
MISFIT = 0.01  # of the cell's metric: half a percent of a length, a third of a degree
OPERATIONS = (
    "_space_group_symop_operation_xyz",
    "_symmetry_equiv_pos_as_xyz",
    "_symmetry_equiv_position_as_xyz",
    "_symmetry_equiv_pos_xyz",
)
MAGNETIC = ("_space_group_symop_magn_operation_xyz", "_space_group_symop_magn_xyz")
MAGNETIC_CENTRING = ("_space_group_symop_magn_centering_xyz",)
NAMES = (
    "_space_group_name_h-m_alt",
    "_symmetry_space_group_name_h-m",
    "_space_group_name_h-m",
    "_space_group_name_h-m_full",
    "_space_group_name_h-m_ref",
    "_symmetry_space_group_name_h-m_alt",
    "_symmetry_space_group_name_h-m_full",
    "_symmetry_name_h-m",
)
HALLS = ("_space_group_name_hall", "_symmetry_space_group_name_hall")
GROUP_NUMBERS = (
    "_space_group_it_number",
    "_symmetry_int_tables_number",
    "_symmetry_space_group_number",
    "_space_group_number",
)
CODES = ("_space_group_it_coordinate_system_code", "_symmetry_cell_setting_code")
MODULATED = ("_ssg", "superspace", "_cell_wave_vector", "_cell_modulation", "_cell_subsystem")
SAYS_NOTHING = (  # of the tags that begin as symmetry does
    "_id", "_pos_site_id", "cell_setting", "crystal_system", "_details", "_refs", "laue", "patterson",
    "point_group", "bravais", "centring_type", "_symop_sg_id", "transform",
)  # fmt: skip


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
    if group is None or found.key != of_group(group.xhm()).key:
        if not _closed(found):
            raise ValueError(f"{len(texts)} operations that are no group")
    return found


def _closed(setting: Setting) -> bool:
    """Whether each product of two operations is one of them."""
    n, size = len(setting.rotations), gemmi.Op.DEN
    shifts = np.rint(setting.translations * size).astype(int)

    def codes(rotations: np.ndarray, translations: np.ndarray) -> np.ndarray:
        parts = np.concatenate([rotations.reshape(-1, 9) + 5, translations.reshape(-1, 3) % size], 1)
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
    groups = []
    for spelling in (plain, _shortened(plain)):
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


def _numbered(number: int, code: str | None) -> tuple[Setting, ...]:
    groups = [g for g in gemmi.spacegroup_table() if g.number == number]
    if code is not None:
        groups = [g for g in groups if coded(g, code)]
        standard = [g for g in groups if g.ext.strip("\0").lower() + g.qualifier == code.lower()]
        groups = standard or groups
    return tuple(of_group(g.xhm()) for g in groups)


# --- what a file states


@dataclass(frozen=True)
class Readings:
    """What the symmetry of a file can be.

    Attributes:
        stated: settings that agree with all that it says of symmetry; of several only one can be meant.
        others: settings that agree with a part of it, and are to be believed only if something else confirms them.
        complaint: why there is none in `stated`.
    """

    stated: tuple[Setting, ...]
    others: Callable[[], Iterable[Setting]] = tuple  # found only if they are needed
    complaint: str = ""


P1 = of_operations(("x,y,z",))
ONLY_P1 = Readings((P1,))


def readings(tags: Tags, metric: np.ndarray) -> Readings:
    """The settings that a CIF's block can mean in a cell of this metric, (3, 3) in Å².

    Raises:
        ValueError: modulated structures; symmetry in words that are not known.
    """
    every = "\n".join(tags.names())
    if any(mark in every for mark in MODULATED):
        tag = next(tag for tag in tags.names() if any(mark in tag for mark in MODULATED))
        raise ValueError(f"a modulated structure ({tag}); only crystals in three dimensions")
    said = _said(
        _operations(tags),
        tuple(text[:100] for tag in NAMES if (text := tags.text(tag))),
        tuple(text[:100] for tag in HALLS if (text := tags.text(tag))),
        tuple(text[:100] for tag in GROUP_NUMBERS if (text := tags.text(tag))),
        next((code[:100] for tag in CODES if (code := tags.text(tag))), None),
    )
    if said.listed is P1 and said.complaint is None and all(s.key == P1.key for s in said.worded):
        return ONLY_P1
    if said.listed is None and not said.broken and not said.named:
        return _by_number(tags, said, metric)
    def fitting(settings: Iterable[Setting] = said.worded) -> list[Setting]:
        misfits = [(round(setting.misfit(metric), 4), setting) for setting in settings]
        # those that fit a cell equally well stay in their order
        return [s for misfit, s in sorted(misfits, key=itemgetter(0)) if misfit < MISFIT]

    if said.broken:
        return Readings((), fitting, said.broken)
    if said.listed is None:
        return _by_name(said, fitting())
    listed = (said.listed,) if said.listed.misfit(metric) < MISFIT else ()
    if said.complaint is None and listed:
        return Readings(listed, fitting)

    def all_of_them() -> list[Setting]:
        known = said.number is None or said.number in {s.number for s in said.worded}
        return [*listed, *fitting(), *([] if known else fitting(_numbered(said.number, None)))]

    complaint = said.complaint or "the cell does not have the symmetry of the operations"
    return Readings((), all_of_them, complaint)


@dataclass(frozen=True)
class _Said:
    """What a file says of its symmetry.

    Attributes:
        listed: the group of its operations, None without such.
        broken: why its operations are none, "" if they are.
        named: a name of the group, "" without one.
        worded: the settings that names, Hall symbol and code leave.
        number, code: as they stand there.
        complaint: why operations and words contradict one another, None if they do not.
    """

    listed: Setting | None
    broken: str
    named: str
    worded: tuple[Setting, ...]
    number: int | None
    code: str | None
    complaint: str | None


@lru_cache(1000)
def _said(
    texts: tuple[str, ...],
    names: tuple[str, ...],
    halls: tuple[str, ...],
    numbers: tuple[str, ...],
    code: str | None,
) -> _Said:
    listed, broken, complaint = None, "", None
    if texts:
        try:
            listed = of_operations(texts)
        except ValueError as error:
            broken = f"unusable symmetry: {error}"
    number, worded = _number(numbers), _worded(names, halls, code)
    unknown = [name for name in names if not named(name)]
    if not texts and unknown and not worded:
        raise ValueError(f"unusable symmetry: no space group is called {unknown[0]!r}")
    if listed:
        complaint = _contradiction(listed, worded, number, unknown)
    name = names[0] if names else worded[0].name if worded else ""
    return _Said(listed, broken, name, tuple(worded), number, code, complaint)


def _by_name(said: _Said, fitting: list[Setting]) -> Readings:
    if not fitting:
        complaint = f"the cell does not have the symmetry of its space group, {said.named}"
        return Readings((), complaint=complaint)
    numbered = [s for s in fitting if said.number in (None, s.number)]
    if not numbered:
        complaint = f"space group {said.named} is not number {said.number}"
        return Readings((), lambda: fitting, complaint)
    if len({s.name.partition(":")[0] for s in numbered}) > 1:  # axes of a short monoclinic name
        return Readings((numbered[0],), lambda: numbered[1:])
    return Readings(tuple(numbered))


def _by_number(tags: Tags, said: _Said, metric: np.ndarray) -> Readings:
    """Neither names nor operations: then a number says it all only if the group has one setting."""
    if said.number is not None and said.number > 1:
        settings = [s for s in _numbered(said.number, said.code) if s.misfit(metric) < MISFIT]
        if len(settings) == 1:
            return Readings(tuple(settings))
        complaint = f"space group {said.number} without symbol or operations"
        return Readings((), lambda: settings, complaint)
    symmetry = ("_symmetry", "_space_group", "_parent_space_group")
    for tag in tags.names():
        silent = tag in (*GROUP_NUMBERS, *CODES) or any(word in tag for word in SAYS_NOTHING)
        if tag.startswith(symmetry) and not silent and tags.text(tag):
            raise ValueError(f"its symmetry stands in {tag}, from which it cannot be taken")
    return ONLY_P1


def _operations(tags: Tags) -> tuple[str, ...]:
    for tag in OPERATIONS:
        if texts := [text for text in tags.column(tag) if text]:
            break
    else:
        magnetic = [text for tag in MAGNETIC for text in tags.column(tag) if text]
        centring = [text for tag in MAGNETIC_CENTRING for text in tags.column(tag) if text]
        texts = [_spatial(text) for text in magnetic]
        if centring and len(texts) * len(centring) <= MOST_OPERATIONS:
            texts = _products(texts, [_spatial(text) for text in centring])
    if len(texts) > MOST_OPERATIONS:
        raise ValueError(
            f"{len(texts):,} symmetry operations; up to {MOST_OPERATIONS} can be read"
        )
    if any(len(text) > 100 for text in texts):
        raise ValueError("unusable symmetry: an operation of more than 100 characters")
    return tuple(texts)


def _spatial(text: str) -> str:
    """A magnetic operation without its reversal of time."""
    return re.sub(r",\s*[+-]?1\s*$", "", text)


def _products(texts: list[str], centring: list[str]) -> list[str]:
    try:
        return [(gemmi.Op(c) * gemmi.Op(t)).wrap().triplet() for c in centring for t in texts]
    except Exception as error:
        raise ValueError(f"unusable symmetry: {error}") from error


def _number(texts: tuple[str, ...]) -> int | None:
    numbers = {int(text) for text in texts if re.fullmatch(r"\d{1,3}", text)} - {0}
    if len(numbers) > 1:
        raise ValueError(f"two numbers of its space group: {' and '.join(map(str, sorted(numbers)))}")
    if any(number > 230 for number in numbers):
        raise ValueError(f"there is no space group {max(numbers)}")
    return numbers.pop() if numbers else None


def _worded(names: tuple[str, ...], halls: tuple[str, ...], code: str | None) -> list[Setting]:
    """The settings that the names, the Hall symbol and the code of a file leave."""
    choices = [list(found) for name in names if (found := named(name))]
    for hall in halls:
        try:
            operations = list(gemmi.symops_from_hall(hall))
            choices.append([of_operations(tuple(op.triplet() for op in operations))])
        except Exception:  # raised through C++; a symbol that is no Hall symbol says nothing
            continue
    if not choices:
        return []
    left = {setting.key: setting for setting in choices[0]}
    for choice in choices[1:]:
        keys, numbers = {s.key for s in choice}, {s.number for s in choice}
        if not numbers & {s.number for s in left.values()}:
            raise ValueError(
                f"two space groups: {next(iter(left.values())).name} and {choice[0].name}"
            )
        left = {key: s for key, s in left.items() if key in keys} or left | {
            s.key: s for s in choice
        }
    if code:
        groups = {g.xhm(): g for g in gemmi.spacegroup_table()}
        chosen = {k: s for k, s in left.items() if s.name in groups and coded(groups[s.name], code)}
        left = chosen or left
    return list(left.values())


def _contradiction(
    listed: Setting, worded: list[Setting], number: int | None, unknown: list[str]
) -> str | None:
    """Why operations are not those of the group that is named, None if they can be."""
    if unknown and not worded and listed is P1:
        return f"only x,y,z is listed, and no space group is called {unknown[0]!r}"
    what = "only x,y,z is listed" if listed is P1 else f"the {len(listed.rotations)} operations"
    for settings, name in (
        (worded, worded[0].name if worded else ""),
        (_numbered(number, None) if number else (), f"number {number}"),
    ):
        if not settings:
            continue
        if listed.number:
            same = listed.number in {s.number for s in settings}
        else:
            same = any(listed.kinds() == s.kinds() for s in settings)
        if not same:
            verb = "but" if listed is P1 else "are not those of"
            return f"{what}{',' if listed is P1 else ''} {verb} space group {name}" + (
                " is stated" if listed is P1 else ""
            )
    return None
