"""Relaxation of pyXtal draws, on one core, against stock `chgnet.model.StructOptimizer` from the same starts.

The draws are of representations of MP-20 binary & ternary's official test split where `data/` has it, else of the
embedded prototypes. The stock optimiser (FIRE, FrechetCellFilter, fmax 0.1) gets their primitive cells. Prints one
JSON object, and writes it to `figures/benchmarks/relax.json`. Takes some ten minutes.
"""

import os
import random
import time
import warnings

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import torch
from publish import publish
from pymatgen.core import Structure
from tqdm import tqdm

from wyk.coordinates.pyxtal_start import draw
from wyk.crystals.representation import WyckoffRepresentation, from_structure
from wyk.crystals.spacegroups import space_group
from wyk.files import datasets
from wyk.plumbing import paths
from wyk.relaxation.descent import finish, relax_all
from wyk.studies.stock_relaxer import stock

DRAWS, STOCK = 200, 100  # ours relaxes all, stock the first of them
BLOCK = 20
NEAR = 0.005  # eV/atom


def starts(n: int) -> list[tuple[WyckoffRepresentation, Structure]]:
    """Representations of crystals chosen at random, and a draw of each."""
    source = "mp_20_biternary:test"
    if not (paths.DATA / "mp_20_biternary" / "test.csv.gz").is_file():
        source = "aflow"
    crystals, _ = datasets.structures(source)
    found = []
    for i, (_, crystal) in enumerate(random.Random(0).sample(crystals, n)):
        representation = from_structure(crystal)
        found.append((representation, draw(representation, [0, i, 0])))
    return found


def timed(function, structures: list[Structure]) -> tuple[list, float]:
    """Results, and processor time in s: what else runs on the machine counts for little."""
    start = time.process_time()
    return function(structures), time.process_time() - start


def kept(representation: WyckoffRepresentation, structure: Structure | None) -> bool:
    """Whether the group is found again at the paper's tolerance, or a supergroup.

    A supergroup has more operations for each atom.
    """
    try:
        found = from_structure(structure) if structure else None
    except ValueError:  # atoms on each other
        found = None
    if found is None:
        return False
    if found.space_group == representation.space_group:
        return True
    after, before = (
        space_group(r.space_group).positions[-1].multiplicity / r.n_atoms
        for r in (found, representation)
    )
    return after > before


def main() -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    rows = starts(DRAWS)
    draws = [structure for _, structure in rows]
    relax_all(draws[:1])  # loads the network
    stock(draws[0])
    ours, theirs, times = [], [], np.zeros(2)
    for block in tqdm(range(0, STOCK, BLOCK), disable=None):  # side by side, under the same load
        some = draws[block : block + BLOCK]
        mine, seconds = timed(relax_all, some)
        stocks, seconds_stock = timed(lambda cells: list(map(stock, cells)), some)
        ours, theirs, times = ours + mine, theirs + stocks, times + (seconds, seconds_stock)
    ours += relax_all(draws[STOCK:])
    excess = np.array(
        [a.energy_per_atom - b.energy_per_atom for a, b in zip(ours, theirs, strict=False)]
    )
    whole = [r for r in ours[:STOCK] if r.structure]
    fall = np.array([finish(r.structure, 0).energy_per_atom - r.energy_per_atom for r in whole])
    pairs = [(rows[i][0], ours[i].structure) for i in range(DRAWS)]
    stock_pairs = [(rows[i][0], theirs[i].structure) for i in range(STOCK)]
    calls = [r.calls for r in ours]
    result = {
        "n": DRAWS,
        "n_stock": STOCK,
        "ms": round(1000 * times[0] / STOCK, 1),
        "ms_stock": round(1000 * times[1] / STOCK, 1),
        "ratio": round(times[1] / times[0], 1),
        "calls": round(float(np.mean(calls)), 2),
        "calls_median": float(np.median(calls)),
        "calls_stock": round(float(np.mean([r.calls for r in theirs])), 2),
        "converged": float(np.mean([r.converged for r in ours])),
        "no_higher": float(np.mean(excess <= NEAR)),  # NaN, where we have no crystal, is higher
        "lower": float(np.mean(excess < -NEAR)),
        "kept": float(np.mean([kept(*pair) for pair in pairs])),
        "kept_stock": float(np.mean([kept(*pair) for pair in stock_pairs])),
        "finish_lowers": round(float(np.mean(fall < -NEAR)), 4),
    }
    publish("relax", result)


if __name__ == "__main__":
    main()
