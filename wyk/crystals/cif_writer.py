"""Crystals as CIF text, and back."""

import warnings
from contextlib import suppress

from pymatgen.core import Structure
from pymatgen.io.cif import CifWriter

from wyk.crystals.symmetry_fit import SYMPREC
from wyk.crystals.symmetry_search import ANGLE_TOLERANCE

TOLERANCES = (SYMPREC, 0.03, 0.01, 0.001)  # Å


def symmetrised_cif(structure: Structure) -> str:
    """A crystal as CIF text: its space group at the paper's tolerance, and one atom of each orbit.

    Close to a higher symmetry spglib can be of two minds at that tolerance, and atoms would come out double; then the
    next of TOLERANCES is taken.

    Raises:
        ValueError: if the text is another crystal at all of them.
    """
    for symprec in TOLERANCES:
        with warnings.catch_warnings(), suppress(ValueError):  # not even read: atoms on each other
            warnings.simplefilter("ignore")
            writer = CifWriter(structure, symprec=symprec, angle_tolerance=ANGLE_TOLERANCE)
            found = read_cif(text := str(writer))
            denser = found.density / structure.density
            if found.reduced_formula == structure.reduced_formula and 0.9 < denser < 1.1:
                return text
    raise ValueError("no symmetrised CIF of it is the same crystal")


def read_cif(text: str) -> Structure:
    """The crystal in a CIF text.

    Raises:
        ValueError: if there is none.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that 0.3333 was taken for 1/3
        return Structure.from_str(text, fmt="cif")
