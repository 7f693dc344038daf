"""What goes to the authors' release and comes back is the same set of positions; the release need not be there."""

import genes
import pytest
from pyxtal import pyxtal

from wyk.crystals.representation import WyckoffRepresentation
from wyk.crystals.spacegroups import space_group

ROCK_SALT = {"group": 225, "species": ["Na", "Cl"], "sites": [["4a"], ["4b"]], "numIons": [4, 4]}


@pytest.mark.parametrize("number", range(1, 231))
def test_every_position_goes_there_and_back(number):
    letters = space_group(number).letters
    elements = ("Si", "O", "Og")
    everything = WyckoffRepresentation(
        number,
        tuple(elements[i % 3] for i in range(len(letters) + 2)),
        (*letters, letters[-1], letters[-1]),  # the general position may be occupied again
    )
    gene = genes.to_gene(everything)
    assert genes.same(genes.from_gene(gene), everything)
    assert dict(zip(gene["species"], gene["numIons"], strict=True)) == everything.composition
    for i in range(len(letters)):  # one position alone, so that none can stand in for another
        one = WyckoffRepresentation(number, ("Li",), (letters[i],))
        assert genes.from_gene(genes.to_gene(one)) == one


def test_rock_salt_is_written_as_pyxtal_has_it():
    representation = WyckoffRepresentation(225, ("Na", "Cl"), ("a", "b"))
    assert genes.to_gene(representation) == ROCK_SALT
    crystal = pyxtal()
    gene = genes.to_gene(WyckoffRepresentation(227, ("Mg", "O", "Al"), ("a", "e", "d")))  # spinel
    crystal.from_random(3, gene["group"], gene["species"], gene["numIons"], sites=gene["sites"])
    found = {
        (site.specie, f"{site.wp.multiplicity}{site.wp.letter}") for site in crystal.atom_sites
    }
    assert found == {("Mg", "8a"), ("O", "32e"), ("Al", "16d")}


def test_what_is_invalid_stays_so():
    twice = ROCK_SALT | {"sites": [["4a"], ["4a"]]}
    assert "fixed set of points" in genes.from_gene(twice).invalidity()
    assert genes.from_gene(ROCK_SALT | {"sites": [["4a"], ["4z"]]}).invalidity() is not None
    assert genes.from_gene({"group": 225, "species": [], "sites": [], "numIons": []}).invalidity()


def test_contradictions_and_strangers_are_refused():
    for wrong, complaint in (
        ({"sites": [["8a"], ["4b"]]}, "contradicts itself"),  # the multiplicity is not the letter's
        ({"numIons": [4, 8]}, "contradicts itself"),
        ({"species": ["Na"]}, "longer"),
    ):
        with pytest.raises(ValueError, match=complaint):
            genes.from_gene(ROCK_SALT | wrong)
    with pytest.raises(ValueError, match="no Wyckoff letter 'z'"):
        genes.to_gene(WyckoffRepresentation(225, ("Na",), ("z",)))


def test_another_set_is_not_the_same():
    salt = WyckoffRepresentation(225, ("Na", "Cl"), ("a", "b"))
    assert genes.same(salt, WyckoffRepresentation(225, ("Cl", "Na"), ("b", "a")))
    for other in (
        WyckoffRepresentation(225, ("Na", "Cl"), ("b", "a")),
        WyckoffRepresentation(225, ("Na", "Cl"), ("a", "c")),
        WyckoffRepresentation(227, ("Na", "Cl"), ("a", "b")),
        WyckoffRepresentation(225, ("Na", "Cl", "Cl"), ("a", "b", "c")),
    ):
        assert not genes.same(salt, other)
