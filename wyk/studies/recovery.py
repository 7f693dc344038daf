"""Whether draws find real crystals again: their representations, crystallised anew (paper, §3.4)."""

import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pymatgen.core import Structure
from tqdm import tqdm

from wyk import relaxation
from wyk.common import FOUND
from wyk.coordinates import pyxtal_start
from wyk.crystals import free_numbers, from_structure
from wyk.files import datasets
from wyk.plumbing import workers
from wyk.structures import crystallise

TIME_LIMIT = 300.0  # seconds for all draws of one crystal


def recover(source: str | Path, n: int, draws: int, seed: int = 0, jobs: int = 1) -> pd.DataFrame:
    """Relax some real crystals, and random crystals of their representations.

    Args:
        source: anything `datasets.structures` takes.
        n: how many crystals, chosen at random; all if there are no more.
        draws: random crystals of each.
        seed: of the choice and the draws.
        jobs: processes; the result does not depend on it.

    Returns:
        One row for each crystal: `material_id`, `space_group`, `free_numbers`, `real` (energy of the relaxed real
        crystal, eV/atom), `energies` (eV/atom of each draw, NaN where it failed), `calls` of the potential for each
        draw, and `reason`: why a number is missing, null where none is.

    Raises:
        ValueError, OSError: if the source cannot be read, or holds no crystal.
    """
    nothing = {"energies": [None] * draws, "calls": [0] * draws}
    rows = [
        {"material_id": material_id} | (row or nothing | {"reason": reason})
        for material_id, row, reason in each(_again, source, n, seed, jobs, draws)
    ]
    return pd.DataFrame(rows).astype({"reason": "str"})


def each(
    function: Callable, source: str | Path, n: int, seed: int, jobs: int, *arguments
) -> list[tuple[str, Any, str | None]]:
    """A function of some real crystals, chosen at random, in several processes.

    Args:
        function: of a crystal, its seed (a list) and the arguments; importable by name.
        source, n, seed, jobs: as in `recover`.

    Returns:
        For each crystal its material_id and the result, or None and the reason why there is none.

    Raises:
        ValueError, OSError: as `recover`.
    """
    crystals, _ = datasets.structures(source)
    if not crystals:
        raise ValueError(f"{source}: no crystal to recover")
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.permutation(len(crystals))[:n]).tolist()
    tasks = {i: (crystals[i][1], [seed, i], *arguments) for i in chosen}
    results = tqdm(
        workers.as_done(function, tasks, jobs, TIME_LIMIT),
        total=len(tasks), unit="crystal", disable=None, file=sys.stderr,
    )  # fmt: skip
    done = {i: (result, reason) for i, result, reason in results}
    return [(crystals[i][0], *done[i]) for i in chosen]


def _again(structure: Structure, seed: list[int], draws: int) -> dict:
    """One row of `recover`."""
    representation = from_structure(structure)
    real = relaxation.relax(structure)
    drawn = crystallise(representation, draws, seed)
    reasons = [real.reason, *drawn["draw_reasons"]]
    return {
        "space_group": representation.space_group,
        "free_numbers": free_numbers(representation),
        "real": real.energy_per_atom,
        "energies": drawn["energies"],
        "calls": drawn["calls"],
        "reason": "; ".join(dict.fromkeys(filter(None, reasons))) or None,
    }


def found(table: pd.DataFrame) -> np.ndarray:
    """Whether any of the first 1, 2, … draws came within FOUND of the relaxed real crystal, or below, (n, draws).

    Args:
        table: of `recover`; crystals that could not be relaxed themselves are not found.
    """
    energies = np.array([[np.nan if e is None else e for e in row] for row in table["energies"]])
    lowest = np.fmin.accumulate(energies.astype(float), axis=1)
    return lowest <= table["real"].to_numpy(float)[:, None] + FOUND


def tiers(free_numbers: pd.Series) -> dict[str, np.ndarray]:
    """Which crystals (n,) belong to each group by their free numbers, and "all" of them."""
    free = free_numbers.to_numpy(float)  # NaN where a crystal was never drawn
    groups = {"all": np.full(len(free), True)}
    for low, high in pairwise([0, *pyxtal_start.TIERS, np.inf]):
        label = f"{low + 1} to {high}" if np.isfinite(high) else f"{low + 1} and more"
        groups[label] = (free > low) & (free <= high)
    return groups
