"""Tables of the 230 space groups: Wyckoff positions, their names that hold across groups, and normalizer variants.

The paper (§3.1) names a Wyckoff position by its site symmetry and an *enumeration*: its rank, in the order of
the letters, among the positions of the group that share the site symmetry. Letters depend on an arbitrary
choice of coset representative of the group's affine normalizer (§3.3); `SpaceGroup.variants` lists what that
choice does to them.

`python -m wyk.crystals.spacegroups` rebuilds the shipped table from pyXtal's symmetry operations.
"""

import gzip
import itertools
import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np

from wyk.plumbing import writing

TABLE = "spacegroups.json.gz"
CENTRING = {"P": 1, "A": 2, "C": 2, "I": 2, "R": 3, "F": 4}


@dataclass(frozen=True)
class WyckoffPosition:
    """One Wyckoff position of a space group.

    Attributes:
        letter: Wyckoff letter, a, b, c … from the most special on (group 47 ends with A).
        site_symmetry: oriented site-symmetry symbol, such as "m-3m" or "2.mm".
        enumeration: rank among the positions of the group with this site symmetry, from 0.
        multiplicity: points per conventional cell.
        dof: free coordinates of a point on the position, 0 to 3.
    """

    letter: str
    site_symmetry: str
    enumeration: int
    multiplicity: int
    dof: int


@dataclass(frozen=True)
class SpaceGroup:
    """A space-group type in its standard setting (International Tables A: unique axis b, hexagonal axes, origin 2).

    Attributes:
        number: 1 to 230.
        symbol: Hermann–Mauguin symbol.
        positions: all Wyckoff positions in the order of their letters.
        variants: every effect of the affine normalizer on the letters, the identity first. Letter
            `positions[i].letter` becomes `variant[i]`; the variants form a group.
    """

    number: int
    symbol: str
    positions: tuple[WyckoffPosition, ...]
    variants: tuple[str, ...]

    @property
    def letters(self) -> str:
        """All letters in order, as one string."""
        return self.variants[0]

    @property
    def lattice_points(self) -> int:
        """Lattice points, and so primitive cells, in the conventional cell."""
        return CENTRING[self.symbol[0]]

    def position(self, letter: str) -> WyckoffPosition:
        """The position with a letter.

        Raises:
            ValueError: if the group has no such letter.
        """
        index = self.letters.find(letter)
        if len(letter) != 1 or index < 0:
            raise ValueError(
                f"space group {self.number} has no Wyckoff letter {letter!r}; it has {self.letters}"
            )
        return self.positions[index]

    def letter(self, site_symmetry: str, enumeration: int) -> str:
        """The letter of a (site symmetry, enumeration) pair.

        Raises:
            ValueError: if the group has no such position.
        """
        for position in self.positions:
            if (position.site_symmetry, position.enumeration) == (site_symmetry, enumeration):
                return position.letter
        raise ValueError(
            f"space group {self.number} has no Wyckoff position ({site_symmetry}, {enumeration})"
        )


@cache
def _table() -> list[dict]:
    return json.loads(gzip.decompress(files("wyk.crystals").joinpath(TABLE).read_bytes()))


@cache
def space_group(number: int) -> SpaceGroup:
    """The space group of a number.

    Raises:
        ValueError: if the number is not an integer from 1 to 230.
    """
    if not 1 <= number <= 230:
        raise ValueError(f"there is no space group {number}: numbers run from 1 to 230")
    row = _table()[number - 1]
    positions = tuple(WyckoffPosition(*fields) for fields in row["positions"])
    return SpaceGroup(number, row["symbol"], positions, tuple(row["variants"]))


def build_table() -> list[dict]:
    """The table of all groups, computed from pyXtal's symmetry operations.

    From orthorhombic on, the coset representatives of the normalizer are those that pyXtal lists. The affine
    normalizers of triclinic and monoclinic groups are infinite, since they hold the choice of the cell as well:
    generators of those are added here.
    """
    from pymatgen.core.operations import SymmOp
    from pyxtal.symmetry import Group

    rows = []
    for number in range(1, 231):
        group = Group(number)
        positions = sorted(group.Wyckoff_positions, key=lambda wp: (wp.letter.isupper(), wp.letter))
        maps = [
            (op.rotation_matrix, op.translation_vector)
            for op in map(SymmOp.from_xyz_str, group.get_alternatives()["Coset Representative"])
        ]
        if number <= 15:
            maps += _cell_choices(number)
        seen: dict[str, int] = {}
        table = []
        for wp in positions:
            wp.get_site_symmetry()
            enumeration = seen.get(wp.site_symm, 0)
            seen[wp.site_symm] = enumeration + 1
            table.append((wp.letter, wp.site_symm, enumeration, wp.multiplicity, int(wp.get_dof())))
        permutations = {p for p in (letter_permutation(positions, *m) for m in maps) if p}
        rows.append(
            {
                "symbol": group.symbol,
                "positions": table,
                "variants": _closure("".join(wp.letter for wp in positions), permutations),
            }
        )
    return rows


def letter_permutation(positions: list, rotation: np.ndarray, shift: np.ndarray) -> str | None:
    """What the map x → rotation·x + shift does to the Wyckoff letters, None if it is not in the normalizer.

    Args:
        positions: pyXtal's Wyckoff positions of a group, in the order of their letters.
        rotation: (3, 3) in the basis of the conventional cell.
        shift: (3,) in fractions of it.
    """
    operations = [
        (op.rotation_matrix, op.translation_vector) for op in positions[-1].ops
    ]  # of the general position: the group itself, centring included
    inverse = np.linalg.inv(rotation)

    def names(pairs):
        return {
            (tuple(np.rint(r).astype(int).ravel()), tuple(np.rint(t * 24).astype(int) % 24))
            for r, t in pairs
        }

    conjugated = []
    for r, t in operations:
        image = rotation @ r @ inverse
        conjugated.append((image, rotation @ t + shift - image @ shift))
    if names(conjugated) != names(operations):
        return None

    generic = np.array([0.1234, 0.3719, 0.8123])
    letters = []
    for source in positions:
        point = rotation @ source.ops[0].operate(generic) + shift
        orbit = np.array([r @ point + t for r, t in operations])
        for target in positions:
            if (target.multiplicity, target.get_dof()) == (source.multiplicity, source.get_dof()):
                difference = target.ops[0].operate_multi(orbit) - orbit
                if (np.abs(difference - np.rint(difference)).max(axis=1) < 1e-6).any():
                    letters.append(target.letter)
                    break
    return "".join(letters)


def _cell_choices(number: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Changes of cell and origin that generate the affine normalizers of groups 1 to 15; others may be among them."""
    shifts = [np.array(s) / 4 for s in itertools.product(range(4), repeat=3)]
    if number <= 2:  # any unimodular matrix: shears and swaps of two axes generate them
        matrices = []
        for i, j in itertools.permutations(range(3), 2):
            shear, swap = np.eye(3), np.eye(3)
            shear[i, j] = 1
            swap[[i, j]] = swap[[j, i]]
            matrices += [shear, swap]
    else:  # unique axis b: unimodular in the (a, c) plane
        matrices = [
            np.array([[p, 0, q], [0, 1, 0], [r, 0, s]])
            for p, q, r, s in itertools.product(range(-2, 3), repeat=4)
            if abs(p * s - q * r) == 1
        ]
    return list(itertools.product(matrices, shifts))


def _closure(letters: str, generators: set[str]) -> list[str]:
    """All products of permutations of letters, sorted with the identity first."""
    found = {letters} | generators
    frontier = found
    while frontier:
        products = {p.translate(str.maketrans(letters, g)) for p in frontier for g in generators}
        frontier = products - found
        found = found | frontier
    return [letters, *sorted(found - {letters})]


def main() -> None:
    """Rebuild the shipped table."""
    text = json.dumps(build_table(), separators=(",", ":")).encode()
    with writing(Path(str(files("wyk.crystals").joinpath(TABLE)))) as temporary:
        temporary.write_bytes(gzip.compress(text, mtime=0))


if __name__ == "__main__":
    main()
