"""From Wyckoff representations to relaxed crystals: pyXtal draws, CHGNet relaxation (paper, §3.4, Appendix E)."""

import hashlib
import json
import re
import shutil
import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
from pymatgen.core import Composition, Structure
from pymatgen.io.cif import CifWriter
from pyxtal import pyxtal
from tqdm import tqdm

from wyk import pool, relaxation
from wyk.paths import writing
from wyk.representation import (
    ANGLE_TOLERANCE,
    COLUMNS,
    SYMPREC,
    WyckoffRepresentation,
    from_structure,
    from_table,
    read_representations,
    write_representations,
)
from wyk.stability import Hull

DRAW_LIMIT = (
    30.0  # seconds for a pyXtal draw; real representations take 0.06 on average, 1.4 at most
)
ATTEMPTS = "attempts.jsonl"  # what an unfinished run has done so far


def draw(representation: WyckoffRepresentation, seed, timeout: float = DRAW_LIMIT) -> Structure:
    """A random crystal with a representation: free coordinates and cell drawn by pyXtal.

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


def symmetrised_cif(structure: Structure) -> str:
    """A crystal as CIF text: its space group at the paper's tolerance, and one atom of each orbit."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return str(CifWriter(structure, symprec=SYMPREC, angle_tolerance=ANGLE_TOLERANCE))


def read_cif(text: str) -> Structure:
    """The crystal in a CIF text.

    Raises:
        ValueError: if there is none.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that 0.3333 was taken for 1/3
        return Structure.from_str(text, fmt="cif")


def attempt(representation: WyckoffRepresentation, seed: list[int]) -> dict:
    """One draw and its relaxation.

    Returns:
        `reason` alone when no crystal came of it; else `cif`, `energy_per_atom`, `converged` and
        `space_group_found`, that of the CIF read again.
    """
    try:
        relaxed = relaxation.relax(draw(representation, seed))
        if relaxed.reason:
            return {"reason": relaxed.reason}
        cif = symmetrised_cif(relaxed.structure)
        found = from_structure(read_cif(cif)).space_group
    except Exception as error:  # pyXtal raises of all kinds; the row keeps its reason
        return {"reason": str(error) or type(error).__name__}
    return {
        "cif": cif,
        "energy_per_atom": relaxed.energy_per_atom,
        "converged": relaxed.converged,
        "space_group_found": found,
    }


def build(
    representations: str | Path,
    out: str | Path,
    n: int | None = None,
    draws: int = 1,
    jobs: int = 1,
    seed: int = 0,
    time_limit: float = 300,
    hull: Hull | None = None,
) -> pd.DataFrame:
    """Crystals of the first n representations of a Parquet: the lowest energy of several draws each.

    Finished attempts stand in `out/attempts.jsonl` while the run lasts, so that a killed run goes on where it
    stopped and ends with the same table; it is deleted at the end. Row i, draw k is seeded by (seed, i, k):
    results depend neither on the number of jobs nor on the order of completion.

    Args:
        representations: Parquet of `wyk represent` or `wyk sample`.
        out: folder for `crystals.parquet` and `cifs/<material_id>.cif`.
        n: number of rows; all if None.
        draws: draws of each representation.
        jobs: processes.
        seed: of the draws.
        time_limit: seconds for one draw and its relaxation.
        hull: for `e_above_hull`; the shipped reference if None.

    Returns:
        The crystals table: the representation's columns (as asked for, not as found), `cif`, `energy_per_atom`
        (eV), `e_above_hull` (eV/atom, negative below the hull), `hull_covered`, `draws`, `energies` (eV/atom of
        each draw, NaN where it failed), `converged`, `space_group_found`, `symmetry_kept`, and `reason`: why
        there is no crystal, null where there is one. A row without a crystal stays in the table.

    Raises:
        ValueError: for a broken table, or material_ids that are not unique.
        OSError: if `out` cannot be written.
    """
    frame = read_representations(representations).head(n)[list(COLUMNS)].reset_index(drop=True)
    if frame["material_id"].duplicated().any():
        twice = frame["material_id"][frame["material_id"].duplicated()].iloc[0]
        raise ValueError(f"{representations}: material_id {twice} stands on several rows")
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    attempts = _run_attempts(
        out / ATTEMPTS, from_table(frame), draws=draws, jobs=jobs, seed=seed, time_limit=time_limit
    )
    crystals = pd.DataFrame([_lowest(row) for row in attempts])
    crystals = crystals.astype({"cif": "str", "reason": "str"})  # also where all are null
    crystals = pd.concat([frame, crystals], axis=1)
    crystals["symmetry_kept"] = crystals["space_group_found"] == crystals["space_group"]
    crystals = _add_hull(crystals, hull or Hull.load())
    _write_cifs(out / "cifs", crystals)
    write_representations(out / "crystals.parquet", crystals)
    (out / ATTEMPTS).unlink()
    return pd.read_parquet(out / "crystals.parquet")


def _run_attempts(
    path: Path, representations: list[WyckoffRepresentation], draws, jobs, seed, time_limit
) -> list[list[dict]]:
    """The results of all attempts, (row, draw), of which those already in the file are not run again."""
    code = b"".join(Path(module).read_bytes() for module in (__file__, relaxation.__file__))
    tasks = {}
    for row, representation in enumerate(representations):
        for k in range(draws):
            arguments = (representation, [seed, row, k])
            key = hashlib.sha256(code + repr((arguments, time_limit)).encode()).hexdigest()
            tasks[key] = arguments
    done = _read_attempts(path)
    missing = {key: arguments for key, arguments in tasks.items() if key not in done}
    with (
        path.open("a", encoding="utf-8") as file,
        tqdm(total=len(tasks), initial=len(tasks) - len(missing), unit="draw", disable=None, file=sys.stderr) as bar,
    ):  # fmt: skip
        for key, result, reason in pool.as_done(attempt, missing, jobs, time_limit):
            done[key] = result or {"reason": reason}
            file.write(json.dumps({"key": key, **done[key]}) + "\n")
            file.flush()
            bar.update()
    results = [done[key] for key in tasks]
    return [results[i : i + draws] for i in range(0, len(results), draws)]


def _read_attempts(path: Path) -> dict[str, dict]:
    """Results by key; a last line that a kill has torn is cut off the file, so that the next begins well."""
    if not path.exists():
        return {}
    text = path.read_bytes()
    whole = text[: text.rfind(b"\n") + 1]
    if whole != text:
        with path.open("rb+") as file:
            file.truncate(len(whole))
    lines = map(json.loads, whole.splitlines())
    return {line.pop("key"): line for line in lines}


def _lowest(attempts: list[dict]) -> dict:
    """One row of the table: the crystal of lowest energy, or the reasons why there is none."""
    energies = [a.get("energy_per_atom") for a in attempts]
    best = min((a for a in attempts if "cif" in a), key=lambda a: a["energy_per_atom"], default={})
    reasons = dict.fromkeys(a["reason"] for a in attempts if "reason" in a)
    return {
        "cif": best.get("cif"),
        "energy_per_atom": best.get("energy_per_atom", np.nan),
        "draws": len(attempts),
        "energies": energies,
        "converged": best.get("converged", False),
        "space_group_found": best.get("space_group_found", 0),
        "reason": None if best else "; ".join(reasons),
    }


def _add_hull(crystals: pd.DataFrame, hull: Hull) -> pd.DataFrame:
    above, covered = [], []
    for r, energy in zip(from_table(crystals), crystals["energy_per_atom"], strict=True):
        composition = None if r.invalidity() else Composition(r.composition)
        covered.append(composition is not None and hull.covers(composition))
        above.append(hull.e_above_hull(composition, energy) if np.isfinite(energy) else np.nan)
    return crystals.assign(e_above_hull=above, hull_covered=covered)


def _write_cifs(folder: Path, crystals: pd.DataFrame) -> None:
    shutil.rmtree(folder, ignore_errors=True)  # of an earlier run
    for name, cif in crystals[["material_id", "cif"]].dropna().itertuples(index=False):
        file = re.sub(r"[^\w.-]", "_", name) + ".cif"
        with writing(folder / file) as temporary:
            temporary.write_text(cif, encoding="utf-8")
