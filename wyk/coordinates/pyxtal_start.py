"""Random crystals of a Wyckoff representation: pyXtal draws what is free (paper, §3.4)."""

import signal
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from pymatgen.core import Structure
from pyxtal import pyxtal

from wyk.crystals import WyckoffRepresentation, free_numbers

LIMIT = 10.0  # seconds for a draw; real representations take 0.06 on average, 1.4 at most
# Free numbers up to which the first, second and third of four numbers of draws hold. One draw of a real
# representation finds the real crystal in 94% with 1 to 3 free numbers, 70% with 4 to 6, 32% with 13 and more.
TIERS = (3, 6, 12)


def number(representation: WyckoffRepresentation, draws: Sequence[int]) -> int:
    """How many draws a representation gets.

    Args:
        representation: formally valid; any other gets one, to be refused.
        draws: one number for all, or four: for up to 3, 6 and 12 free numbers (TIERS), and for more.
    """
    if representation.invalidity():
        return 1
    return draws[0] if len(draws) == 1 else draws[bisect_left(TIERS, free_numbers(representation))]


def draw(representation: WyckoffRepresentation, seed, timeout: float = LIMIT) -> Structure:
    """A random crystal with a representation: free coordinates and cell drawn by pyXtal.

    Shapes of cells are drawn, too: c/a of a tetragonal or hexagonal cell is 0.4 to 2.1 in four of five draws.

    Args:
        representation: formally valid.
        seed: anything `np.random.default_rng` takes; the same seed gives the same crystal.
        timeout: seconds. The limit is an alarm signal, so this runs in the main thread of a process only.

    Returns:
        Conventional cell.

    Raises:
        ValueError: if the representation is formally invalid.
        TimeoutError: if it takes longer.
        RuntimeError: if pyXtal finds no place for the atoms.
    """
    if reason := representation.invalidity():
        raise ValueError(f"formally invalid: {reason}")
    species = list(representation.composition)
    sites = [
        [
            f"{position.multiplicity}{position.letter}"
            for element, position in zip(
                representation.elements, representation.positions, strict=True
            )
            if element == symbol
        ]
        for symbol in species
    ]
    crystal = pyxtal()
    with _alarm(timeout):
        crystal.from_random(
            dim=3,
            group=representation.space_group,
            species=species,
            numIons=list(representation.composition.values()),
            sites=sites,
            random_state=np.random.default_rng(seed),
        )
        return crystal.to_pymatgen()


@contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    def ring(signum, frame):
        raise TimeoutError(f"pyXtal took longer than {seconds:g} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds, 1)  # rings on: pyXtal swallows exceptions
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
