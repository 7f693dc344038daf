"""Our representations and the genes that the authors' release reads and writes: the same sets, written differently.

A gene is a dictionary with the number of the space group (`group`), the elements (`species`), the sites of each
(`sites`, such as "4a": multiplicity and letter) and the atoms of each in the conventional cell (`numIons`).
"""

from wyk.crystals.representation import WyckoffRepresentation


def to_gene(representation: WyckoffRepresentation) -> dict:
    """The gene of a representation.

    Raises:
        ValueError: if the group lacks one of its letters.
    """
    sites: dict[str, list[str]] = {}
    for element, position in zip(representation.elements, representation.positions, strict=True):
        sites.setdefault(element, []).append(f"{position.multiplicity}{position.letter}")
    return {
        "group": representation.space_group,
        "species": list(sites),
        "sites": list(sites.values()),
        "numIons": [sum(int(site[:-1]) for site in row) for row in sites.values()],
    }


def from_gene(gene: dict) -> WyckoffRepresentation:
    """The representation of a gene, formally valid or not; its sites stand element by element.

    Raises:
        ValueError: if multiplicities and numbers of atoms contradict the letters.
    """
    pairs = [
        (element, site)
        for element, row in zip(gene["species"], gene["sites"], strict=True)
        for site in row
    ]
    representation = WyckoffRepresentation(
        int(gene["group"]),
        tuple(element for element, _ in pairs),
        tuple(site[-1] for _, site in pairs),
    )
    if representation.invalidity() is None and to_gene(representation) != gene:
        raise ValueError(f"the gene {gene} contradicts itself")
    return representation


def same(one: WyckoffRepresentation, other: WyckoffRepresentation) -> bool:
    """Whether two representations are the same set: the order of the sites carries no meaning."""
    sites = (sorted(zip(r.elements, r.letters, strict=True)) for r in (one, other))
    return one.space_group == other.space_group and next(sites) == next(sites)
