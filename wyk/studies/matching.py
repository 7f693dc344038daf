"""How near to real crystals relaxations start, and where they end, from pyXtal and from the diffusion (paper, §3.4)."""

from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Structure

from wyk import relaxation
from wyk.common import rate
from wyk.coordinates import starts
from wyk.crystals import WyckoffRepresentation, free_numbers, from_structure
from wyk.studies.recovery import each, found, tiers

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
        where it failed, or does not match: `loose` and `default`, the root mean square distance of its atoms from the
        real ones by MATCHERS (in units of the cube root of the volume per atom), `loosened`, that of `loose` once
        clashes are gone, where relaxation starts, `energies` (eV/atom), `calls` of the potential, `kept` (the group).

    Raises:
        ValueError, OSError: if the source or the model cannot be read, or there is no crystal.
    """
    nothing = {name: [np.nan] * draws for name in LISTS}
    rows = [
        {"material_id": material_id, "start": start}
        | (found[start] if found else nothing | {"reason": reason})
        for material_id, found, reason in each(_again, source, n, seed, jobs, draws, str(model))
        for start in STARTS
    ]
    return pd.DataFrame(rows).astype({"reason": "str"})


def _again(real: Structure, seed: list[int], draws: int, model: str) -> dict[str, dict]:
    """The rows of `match` for a crystal, by their start."""
    representation, lowest = from_structure(real), relaxation.relax(real)
    common = {
        "space_group": representation.space_group,
        "free_numbers": free_numbers(representation),
        "real": lowest.energy_per_atom,
    }
    rows = {}
    for start in STARTS:
        drawn = starts.draw(representation, [[*seed, k] for k in range(draws)], start, model)
        usable = {k: draw for k, draw in enumerate(drawn) if isinstance(draw, Structure)}
        relaxed = dict(zip(usable, relaxation.relax_all(list(usable.values())), strict=True))
        compared = {
            k: _compared(usable[k], relaxed[k], real, representation)
            for k in usable
            if not relaxed[k].reason
        }
        nothing = dict.fromkeys(LISTS, np.nan)
        reasons = [str(d) or type(d).__name__ for d in drawn if isinstance(d, Exception)]
        reasons += [lowest.reason, *(result.reason for result in relaxed.values())]
        rows[start] = common | {
            **{name: [compared.get(k, nothing)[name] for k in range(draws)] for name in LISTS},
            "reason": "; ".join(dict.fromkeys(filter(None, reasons))) or None,
        }
    return rows


def _compared(
    drawn: Structure,
    relaxed: relaxation.Relaxed,
    real: Structure,
    representation: WyckoffRepresentation,
) -> dict[str, float]:
    """The LISTS' values of one draw that was relaxed."""
    try:
        kept = from_structure(relaxed.structure).space_group == representation.space_group
    except ValueError:  # no group at all
        kept = False
    return {
        **{name: _distance(matcher, drawn, real) for name, matcher in MATCHERS.items()},
        "loosened": _distance(MATCHERS["loose"], relaxation.loosened(drawn), real),
        "energies": relaxed.energy_per_atom,
        "calls": relaxed.calls,
        "kept": float(kept),
    }


def _distance(matcher: StructureMatcher, drawn: Structure, real: Structure) -> float:
    found = matcher.get_rms_dist(drawn, real)
    return np.nan if found is None else found[0]


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
        row |= rate(hit).columns(name)
    for name in MATCHERS:
        matched = values[name][hits[name]]
        row[f"{name}_rms"] = np.nanmin(matched, axis=1).mean() if len(matched) else np.nan
    return row | {"calls": np.nanmean(values["calls"])}
