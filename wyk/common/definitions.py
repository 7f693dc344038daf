"""Numbers and names that tables, figures and metrics share: one place says what they mean."""

from ase.data import chemical_symbols

ELEMENTS = tuple(chemical_symbols[1:])  # atomic number z is ELEMENTS[z - 1]
STABLE = 0.08  # eV/atom above the hull, as in the construction of MP-20
IMPLAUSIBLE = (
    -0.3
)  # eV/atom below the hull: a hole in the hull or a broken relaxation, not a discovery
FOUND = 0.08  # eV/atom above the relaxed real crystal; the paper's limit of stability
