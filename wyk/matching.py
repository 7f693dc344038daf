"""How near to real crystals relaxations start, and where they end, from pyXtal and from the diffusion (paper, §3.4)."""

import sys
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Structure
from tqdm import tqdm

from wyk import datasets, drawing, pool, relaxation, starts
from wyk.recovery import TIME_LIMIT, found, tiers
from wyk.representation import from_structure
from wyk.statistics import wilson

STARTS = ("pyxtal", "diffusion")
MATCHERS = {  # of DiffCSP and DiffCSP++, and pymatgen's default
    "loose": StructureMatcher(ltol=0.3, stol=0.5, angle_tol=10),
    "default": StructureMatcher(),
}
LISTS = ("loose", "default", "loosened", "energies", "calls", "kept")


def match(
    source: str | Path,
    n: int,
    draws: int,
    model: str | Path,
    seed: int = 0,
    jobs: int = 1,
) -> pd.DataFrame:
    """Draw some real crystals anew from their representations, by each of STARTS, and relax the draws.

    Args:
        source: anything `datasets.structures` takes.
        n: how many crystals, chosen at random; all if there are no more.
        draws: of each crystal and start.
        model: folder of a trained diffusion.
        seed: of the choice and the draws.
        jobs: processes; the result does not depend on it.

    Returns:
        A row for each crystal and start: `material_id`, `start`, `space_group`, `free_numbers`, `real` (energy of the
        relaxed real crystal, eV/atom), `reason` (why a number is missing, null where none is), and of each draw, NaN
        where it failed or does not match: `loose` and `default`, the root mean square distance of its atoms from the
        real ones by MATCHERS (in units of the cube root of the volume per atom), `loosened`, that of `loose` once
        clashes are gone, where relaxation starts, `energies` (eV/atom), `calls` of the potential, `kept` (the group).

    Raises:
        ValueError, OSError: if the source or the model cannot be read, or there is no crystal.
    """
    crystals, _ = datasets.structures(source)
    if not crystals:
        raise ValueError(f"{source}: no crystal to match")
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.permutation(len(crystals))[:n]).tolist()
    tasks = {
        (i, start): (crystals[i][1], draws, [seed, i], start, str(model))
        for i in chosen
        for start in STARTS
    }
    results = tqdm(
        pool.as_done(_again, tasks, jobs, TIME_LIMIT),
        total=len(tasks), unit="start", disable=None, file=sys.stderr,
    )  # fmt: skip
    nothing = {name: [np.nan] * draws for name in LISTS}
    rows = {key: row or nothing | {"reason": reason} for key, row, reason in results}
    table = pd.DataFrame(
        [{"material_id": crystals[i][0], "start": start} | rows[i, start] for i, start in tasks]
    )
    return table.astype({"reason": "str"})


def _again(real: Structure, draws: int, seed: list[int], start: str, model: str) -> dict:
    """One row of `match`."""
    representation = from_structure(real)
    drawn = starts.draw(representation, [[*seed, k] for k in range(draws)], start, model)
    lowest = relaxation.relax(real)
    row = {name: [] for name in LISTS}
    reasons = [lowest.reason]
    for structure in drawn:
        if isinstance(structure, Exception):
            reasons.append(str(structure) or type(structure).__name__)
            for values in row.values():
                values.append(np.nan)
            continue
        relaxed = relaxation.relax(structure)
        reasons.append(relaxed.reason)
        for name, matcher in MATCHERS.items():
            row[name].append(_distance(matcher, structure, real))
        row["loosened"].append(_distance(MATCHERS["loose"], relaxation.loosened(structure), real))
        row["energies"].append(relaxed.energy_per_atom)
        row["calls"].append(relaxed.calls if not relaxed.reason else np.nan)
        row["kept"].append(np.nan if relaxed.reason else float(_kept(relaxed, representation)))
    return row | {
        "space_group": representation.space_group,
        "free_numbers": drawing.free_numbers(representation),
        "real": lowest.energy_per_atom,
        "reason": "; ".join(dict.fromkeys(filter(None, reasons))) or None,
    }


def _distance(matcher: StructureMatcher, drawn: Structure, real: Structure) -> float:
    found = matcher.get_rms_dist(drawn, real)
    return np.nan if found is None else found[0]


def _kept(relaxed: relaxation.Relaxed, representation) -> bool:
    try:
        return from_structure(relaxed.structure).space_group == representation.space_group
    except ValueError:  # no group at all, as of overlapping atoms
        return False


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Shares and means over the crystals of a table of `match`, for all of them and by their free numbers.

    Returns:
        One row for each start, group of free numbers ("all", "1 to 3", …) and number of draws, 1 or all of them.
        Columns `start`, `free_numbers`, `draws` and `n` (crystals). Shares, each with a 95% interval `…_low` and
        `…_high`: `loose`, `default` and `loosened`, of crystals that any of the draws matches; `found`, of those that
        one relaxes to, within FOUND or below; `kept`, of relaxed draws. Means: `loose_rms` and `default_rms` of the
        nearest match of each crystal that has one, `calls` of a draw.
    """
    draws = len(table["calls"].iloc[0])
    rows = []
    for start, part in table.groupby("start", sort=False):
        for (label, chosen), k in product(tiers(part["free_numbers"]).items(), sorted({1, draws})):
            if chosen.any():
                row = {"start": start, "free_numbers": label, "draws": k}
                rows.append(row | _shares(part[chosen], k))
    return pd.DataFrame(rows)


def _shares(table: pd.DataFrame, draws: int) -> dict:
    values = {name: np.array(table[name].tolist(), float)[:, :draws] for name in LISTS}
    hits = {
        name: np.isfinite(values[name]).any(axis=1) for name in ("loose", "default", "loosened")
    }
    hits["found"] = found(table)[:, draws - 1]
    relaxed = np.isfinite(values["kept"])
    hits["kept"] = values["kept"][relaxed] > 0
    row = {"n": len(table)}
    for name, hit in hits.items():
        row[name] = hit.mean() if len(hit) else np.nan
        row[f"{name}_low"], row[f"{name}_high"] = wilson(int(hit.sum()), len(hit))
    for name in MATCHERS:
        matched = values[name][hits[name]]
        row[f"{name}_rms"] = np.nanmin(matched, axis=1).mean() if len(matched) else np.nan
    return row | {"calls": np.nanmean(values["calls"])}
