"""The symmetry that a CIF states: in which tags, and what its words can mean together."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from operator import itemgetter

import gemmi
import numpy as np

from wyk.files.cif_tags import Tags
from wyk.files.settings import P1, Setting, coded, named, numbered, of_group, of_operations

MOST_OPERATIONS = 192  # of symmetry, in a conventional cell: those of the groups 225 to 228
LONGEST_WORD = 100  # characters of a name
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
MODULATED = (
    "_ssg", "superspace", "wave_vector", "_cell_modulation", "_cell_subsystem", "_commen_", "commensurate",
    "_displace_fourier", "_occ_fourier", "_rot_fourier", "_displace_special", "_occ_special", "_moment_fourier",
)  # fmt: skip
SYMMETRY = re.compile("space_?group|symmetry|symop|^_atom_site_moment")  # words of tags that say it
SAYS_NOTHING = (
    "site_symmetry", "_atom_site_symmetry", "_id", "_details", "_refs", "_symop_sg_id", "transform",
)  # fmt: skip
ONE = (  # what P1 may be called in other tags
    "p1", "p1(1)", "1", "c1", "c1^1", "c1-1", "triclinic", "anorthic", "ap", "a", "p", "x,y,z", "+x,+y,+z", "n/a",
    "none",
)  # fmt: skip


@dataclass(frozen=True)
class Readings:
    """What the symmetry of a file can be.

    Attributes:
        stated: settings that agree with all that it says of symmetry; of several only one can be meant.
        others: settings that agree with a part of it, and are to be believed only if something else confirms them.
        complaint: why there is none in `stated`.
    """

    stated: tuple[Setting, ...]
    others: Callable[[], Iterable[Setting]] = field(
        default_factory=lambda: tuple
    )  # found if needed
    complaint: str = ""


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
    words = [tags.texts(group) for group in (NAMES, HALLS, GROUP_NUMBERS, CODES)]
    if any(len(text) > LONGEST_WORD for texts in words for text in texts):
        raise ValueError(f"unusable symmetry: a name of more than {LONGEST_WORD} characters")
    said = _said(_operations(tags), *words)
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
        return [*listed, *fitting(), *([] if known else fitting(numbered(said.number, None)))]

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
    codes: tuple[str, ...],
) -> _Said:
    if len({code.lower() for code in codes}) > 1:
        raise ValueError(f"two codes of its coordinate system: {' and '.join(codes)}")
    code = codes[0] if codes else None
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
        settings = [s for s in numbered(said.number, said.code) if s.misfit(metric) < MISFIT]
        if len(settings) == 1:
            return Readings(tuple(settings))
        complaint = f"space group {said.number} without symbol or operations"
        return Readings((), lambda: settings, complaint)
    if tag := promise(tags):
        if tag.startswith("_atom_site_moment"):
            raise ValueError("magnetic moments, but no symmetry that says which atoms have them")
        raise ValueError(f"its symmetry stands in {tag}, from which it cannot be taken")
    return ONLY_P1


def is_said(tags: Tags) -> bool:
    """Whether a block says its symmetry where it is looked for."""
    usual = (*NAMES, *HALLS, *GROUP_NUMBERS, *OPERATIONS, *MAGNETIC)
    return any(any(tags.column(tag)) for tag in usual)


def promise(tags: Tags) -> str | None:
    """The first tag that says of symmetry more than P1, None without."""
    for tag in tags.names():
        if not SYMMETRY.search(tag) or any(word in tag for word in SAYS_NOTHING):
            continue
        if tag in GROUP_NUMBERS and _number(tags.texts((tag,))) in (None, 1):
            continue
        small = {re.sub(r"[\s_]", "", text).lower() for text in tags.column(tag)} - {""}
        whole = ("-1", "p-1") if "laue" in tag or "patterson" in tag else ()  # with inversion
        if not small <= {*ONE, *whole}:
            return tag
    return None


def _operations(tags: Tags) -> tuple[str, ...]:
    lists = [[text for text in tags.column(tag) if text] for tag in OPERATIONS]
    lists = [texts for texts in lists if texts]
    if len(lists) > 1 and len({frozenset(map(_plainly, texts)) for texts in lists}) > 1:
        raise ValueError("two lists of symmetry operations that are not the same")
    texts = lists[0] if lists else []
    if not lists:
        magnetic = [text for tag in MAGNETIC for text in tags.column(tag) if text]
        centring = [text for tag in MAGNETIC_CENTRING for text in tags.column(tag) if text]
        texts = [_spatial(text) for text in magnetic]
        if centring and len(texts) * len(centring) <= MOST_OPERATIONS:
            texts = _products(texts, [_spatial(text) for text in centring])
    if len(texts) > MOST_OPERATIONS:
        raise ValueError(f"{len(texts):,} symmetry operations; up to {MOST_OPERATIONS} can be read")
    if any(len(text) > 100 for text in texts):
        raise ValueError("unusable symmetry: an operation of more than 100 characters")
    return tuple(texts)


def _plainly(text: str) -> str:
    """An operation in the one spelling that all lists have in common."""
    try:
        return gemmi.Op(text).wrap().triplet()
    except Exception:  # raised through C++; refused where operations are read
        return text


def _spatial(text: str) -> str:
    """A magnetic operation without its reversal of time."""
    return re.sub(r",\s*[+-]?1\s*$", "", text)


def _products(texts: list[str], centring: list[str]) -> list[str]:
    try:
        return [(gemmi.Op(c) * gemmi.Op(t)).wrap().triplet() for c in centring for t in texts]
    except Exception as error:
        raise ValueError(f"unusable symmetry: {error}") from error


def _number(texts: tuple[str, ...]) -> int | None:
    """The group's number, also as 225.0 or with an uncertainty; 0 says nothing."""
    found = {text: re.fullmatch(r"(\d{1,3})(?:\.0*)?(?:\(\d+\))?", text) for text in texts}
    if unknown := [text for text, number in found.items() if number is None]:
        raise ValueError(f"unusable symmetry: {unknown[0]!r} is no number of a space group")
    numbers = {int(number[1]) for number in found.values()} - {0}
    if len(numbers) > 1:
        raise ValueError(
            f"two numbers of its space group: {' and '.join(map(str, sorted(numbers)))}"
        )
    if any(number > 230 for number in numbers):
        raise ValueError(f"there is no space group {max(numbers)}")
    return numbers.pop() if numbers else None


def _worded(names: tuple[str, ...], halls: tuple[str, ...], code: str | None) -> list[Setting]:
    """The settings that the names, the Hall symbol and the code of a file leave."""
    choices = [list(found) for name in names if (found := named(name))]
    for hall in halls:
        try:
            operations = gemmi.symops_from_hall(hall)
            group = gemmi.find_spacegroup_by_ops(operations)
            triplets = tuple(operation.triplet() for operation in operations)
            choices.append([of_group(group.xhm()) if group else of_operations(triplets)])
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
        (numbered(number, None) if number else (), f"number {number}"),
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
    if listed.number and worded and listed.key not in {s.key for s in worded}:
        known = {setting.key: setting.name for setting in numbered(listed.number, None)}
        return f"its operations are those of {known[listed.key]}, but {worded[0].name} is stated"
    return None
