"""From Wyckoff representations to relaxed crystals: several draws each, the lowest energy counts (paper, §3.4)."""

import fcntl
import hashlib
import json
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

import numpy as np
import pandas as pd
from tqdm import tqdm

from wyk import relaxation
from wyk.common import weights
from wyk.coordinates import pyxtal_start, starts
from wyk.crystals import (
    COLUMNS,
    WyckoffRepresentation,
    from_structure,
    from_table,
    read_cif,
    read_representations,
    symmetrised_cif,
    write_representations,
)
from wyk.plumbing import workers, writing

DRAWS = (2, 4, 6, 8)  # see `drawing.number`
GAIN = 0.005  # eV/atom by which a crystal without symmetry must be lower to be preferred
ROOMS = (
    "common",
    "crystals",
    "relaxation",
    "coordinates",
    "structures",
)  # what a crystal depends on
DONE = "done.jsonl"  # what an unfinished run has done so far


def crystallise(
    representation: WyckoffRepresentation,
    n: int,
    seed: list[int],
    finish: bool = False,
    start: str = "pyxtal",
    model: str | Path | None = None,
) -> dict:
    """The crystal of lowest energy that n draws of a representation relax to.

    Args:
        n: number of draws, relaxed side by side; draw k is seeded by (*seed, k).
        finish: whether that crystal is relaxed once more without symmetry, which is kept if it saves GAIN.
        start, model: where draws come from, as in `starts.draw`.

    Returns:
        `energies` (eV/atom, None if it failed), `calls` of the potential and `draw_reasons` (why it failed, None
        if it did not) of each draw. Then `reason` alone if none made a crystal; else `cif`, `energy_per_atom`,
        `converged`, `finish_gain` (eV/atom, None if not asked for) and `space_group_found`, that of the CIF read
        again.
    """
    drawn = dict(
        enumerate(starts.draw(representation, [[*seed, k] for k in range(n)], start, model))
    )
    reasons = {
        k: str(error) or type(error).__name__
        for k, error in drawn.items()
        if isinstance(error, Exception)
    }
    usable = {k: structure for k, structure in drawn.items() if k not in reasons}
    relaxed = dict(zip(usable, relaxation.relax_all(list(usable.values())), strict=True))
    reasons |= {k: result.reason for k, result in relaxed.items() if result.reason}
    usable = {k: result for k, result in relaxed.items() if not result.reason}
    row = {
        "energies": [usable[k].energy_per_atom if k in usable else None for k in range(n)],
        "calls": [relaxed[k].calls if k in relaxed else 0 for k in range(n)],
        "draw_reasons": [reasons.get(k) for k in range(n)],
    }
    if not usable:
        return row | {"reason": "; ".join(dict.fromkeys(reasons.values()))}
    best = min(usable.values(), key=lambda result: result.energy_per_atom)
    gain = None
    if finish:
        freed = relaxation.finish(best.structure, [*seed, n])
        gain = None if freed.reason else best.energy_per_atom - freed.energy_per_atom
        best = freed if gain is not None and gain > GAIN else best
    try:
        cif = symmetrised_cif(best.structure)
    except ValueError as error:
        return row | {"reason": str(error)}
    return row | {
        "cif": cif,
        "energy_per_atom": best.energy_per_atom,
        "converged": best.converged,
        "finish_gain": gain,
        "space_group_found": from_structure(read_cif(cif)).space_group,
    }


def build(
    representations: str | Path,
    out: str | Path,
    n: int | None = None,
    draws: Sequence[int] = DRAWS,
    start: str = "pyxtal",
    diffusion: str | Path | None = None,
    finish: bool = False,
    jobs: int = 1,
    scheduler: str | None = None,
    seed: int = 0,
    time_limit: float = 300,
    judge: Callable[[pd.DataFrame], pd.DataFrame] | None = None,
    enough: Callable[[pd.DataFrame], bool] | None = None,
) -> pd.DataFrame:
    """Crystals of the first n representations of a Parquet: the lowest energy of several draws each.

    What is finished stands in `out/done.jsonl` while the run lasts, so that a killed run goes on where it stopped
    and ends with the same table; it is deleted at the end. Draw k of row i is seeded by (seed, i, k): results
    depend neither on the number of jobs nor on the order of completion.

    Args:
        representations: Parquet of `wyk represent` or `wyk sample`.
        out: folder for `crystals.parquet` and `cifs/<material_id>.cif`.
        n: number of rows; all if None.
        draws: of each representation: one number, or four by free numbers, see `drawing.number`.
        start: where draws come from, see `starts.draw`.
        diffusion: folder of a trained one, unless they all come from pyXtal.
        finish: see `crystallise`.
        jobs: processes, if there is no scheduler.
        scheduler: address of a Dask scheduler whose workers do the work.
        seed: of the draws.
        time_limit: seconds for all draws of a representation and their relaxation.
        judge: adds columns to rows of the table, for instance `stability.judged`.
        enough: is given each row, from the first on and as judged; the first for which it is true is the last.

    Returns:
        The crystals table: the representation's columns (as asked for, not as found), `cif`, `energy_per_atom`
        (eV), `draws`, `energies` (eV/atom of each draw, NaN where it failed), `calls` of the potential and
        `draw_reasons` likewise (null where it did not fail), `converged`, `finish_gain` (eV/atom),
        `space_group_found`, `symmetry_kept`, and `reason`: why there is no crystal, null where there is one; then
        what `judge` adds. A row without a crystal stays in the table.

    Raises:
        ValueError: for a broken or empty table, or material_ids that are not unique.
        OSError: if `out` cannot be written, or another run is writing there; if the scheduler is dead.
    """
    frame = read_representations(representations).head(n)[list(COLUMNS)].reset_index(drop=True)
    if frame.empty:
        raise ValueError(f"{representations}: no representation to make a crystal of")
    if frame["material_id"].duplicated().any():
        twice = frame["material_id"][frame["material_id"].duplicated()].iloc[0]
        raise ValueError(f"{representations}: material_id {twice} stands on several rows")
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    tasks = _tasks(from_table(frame), draws, finish, start, diffusion, seed, time_limit)
    if scheduler:
        from wyk.plumbing import dask_workers  # takes a second to import

        run = partial(dask_workers.as_done, scheduler=scheduler, time_limit=time_limit)
    else:
        run = partial(workers.as_done, jobs=jobs, time_limit=time_limit, memory=workers.share(jobs))
    with _journal(out / DONE) as (file, done):
        missing = {key: arguments for key, arguments in tasks.items() if key not in done}
        last = _Last(frame, tasks, judge, enough)
        if missing and not last(done):
            begun = {"initial": len(tasks) - len(missing), "total": len(tasks)}
            with closing(run(crystallise, missing)) as results:  # on any error the work stops
                for key, result, reason in tqdm(
                    results, unit="crystal", disable=None, file=sys.stderr, **begun
                ):
                    done[key] = result or {"reason": reason}
                    _append(file, {"key": key, **done[key]})
                    if last(done):
                        break
        crystals = _table(frame, tasks, done, [*tasks][: last(done)])
        crystals = judge(crystals) if judge else crystals
        _write_cifs(out / "cifs", crystals, _names(out / "crystals.parquet"))
        write_representations(out / "crystals.parquet", crystals)
        (out / DONE).unlink()
    return pd.read_parquet(out / "crystals.parquet")


def _tasks(
    representations: list[WyckoffRepresentation],
    draws: Sequence[int],
    finish: bool,
    start: str,
    diffusion: str | Path | None,
    seed: int,
    time_limit: float,
) -> dict[str, tuple]:
    """The calls of `crystallise`, by a key that changes with whatever changes the result."""
    code = _code()
    if start != "pyxtal":
        code += (Path(diffusion) / weights.WEIGHTS).read_bytes()
    tasks = {}
    for row, representation in enumerate(representations):
        number = pyxtal_start.number(representation, draws)
        arguments = (representation, number, [seed, row], finish, start, diffusion)
        settings = repr((arguments, time_limit)).encode()
        tasks[hashlib.sha256(code + settings).hexdigest()] = arguments
    return tasks


class _Last:
    """Says how many rows, from the first, the table has; 0 as long as that is open, None for all."""

    def __init__(
        self,
        frame: pd.DataFrame,
        tasks: dict[str, tuple],
        judge: Callable | None,
        enough: Callable | None,
    ):
        self.frame, self.tasks, self.judge, self.enough = frame, tasks, judge, enough
        self.keys, self.rows, self.found = [*tasks], 0, False

    def __call__(self, done: dict[str, dict]) -> int | None:
        """How many rows.

        Args:
            done: results by the key of their task, of more rows each time.
        """
        if self.enough is None:
            return None
        while not self.found and self.rows < len(self.keys):
            key = self.keys[self.rows]
            if key not in done:
                return 0
            one = self.frame.iloc[[self.rows]].reset_index(drop=True)
            row = _table(one, self.tasks, done, [key])
            self.found = self.enough(self.judge(row) if self.judge else row)
            self.rows += 1
        return self.rows


def _table(
    frame: pd.DataFrame, tasks: dict[str, tuple], done: dict[str, dict], keys: list[str]
) -> pd.DataFrame:
    """The first rows of the table, those of the tasks `keys`."""
    rows = [_row(done[key], tasks[key][1]) for key in keys]
    types = {"cif": "str", "reason": "str", "finish_gain": float}  # hold where all are null
    crystals = pd.concat([frame.head(len(keys)), pd.DataFrame(rows).astype(types)], axis=1)
    crystals["symmetry_kept"] = crystals["space_group_found"] == crystals["space_group"]
    return crystals


def _code() -> bytes:
    """Of all rooms that `crystallise` runs through."""
    folder = Path(__file__).parents[1]
    files = [file for room in ROOMS for file in (folder / room).rglob("*.py")]
    return b"".join(file.read_bytes() for file in sorted(files))


@contextmanager
def _journal(path: Path) -> Iterator[tuple[BinaryIO, dict[str, dict]]]:
    """A file of finished rows, open to append, and the rows in it by key; for one run at a time.

    Each line begins with the checksum of the rest: what is torn or damaged counts as not done.

    Raises:
        BlockingIOError: if another run has it.
    """
    with path.open("ab+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BlockingIOError(f"{path.parent}: another run is writing there") from error
        file.seek(0)
        lines = file.readlines()
        if lines and not lines[-1].endswith(b"\n"):  # torn by a kill
            file.truncate(sum(map(len, lines[:-1])))
            del lines[-1]
        checked = [line[9:-1] for line in lines if line[:8] == _checksum(line[9:-1])]
        yield file, {row.pop("key"): row for row in map(json.loads, checked)}


def _checksum(text: bytes) -> bytes:
    return b"%08x" % zlib.crc32(text)


def _append(file: BinaryIO, row: dict) -> None:
    text = json.dumps(row).encode()
    try:
        file.write(b"%s %s\n" % (_checksum(text), text))
        file.flush()
    except OSError as error:
        raise OSError(error.errno, f"{error.strerror}; run again to go on", file.name) from error


def _row(result: dict, n: int) -> dict:
    """One row of the table from what `crystallise` said, or from the reason why it said nothing."""
    nothing = [None] * n
    return {
        "cif": result.get("cif"),
        "energy_per_atom": result.get("energy_per_atom", np.nan),
        "draws": n,
        "energies": result.get("energies", nothing),
        "calls": result.get("calls", [0] * n),
        "draw_reasons": result.get("draw_reasons", nothing),
        "converged": result.get("converged", False),
        "finish_gain": result.get("finish_gain"),
        "space_group_found": result.get("space_group_found", 0),
        "reason": result.get("reason"),
    }


def _names(path: Path) -> list[str]:
    """The crystals of an earlier run, as far as its table can be read."""
    try:
        return pd.read_parquet(path, columns=["material_id"])["material_id"].astype(str).to_list()
    except (OSError, ValueError, KeyError):
        return []


def _write_cifs(folder: Path, crystals: pd.DataFrame, earlier: Sequence[str] = ()) -> None:
    """Writes the CIFs in place of an earlier run's; files of others stay."""
    for name in earlier:
        (folder / _file(name)).unlink(missing_ok=True)
    for name, cif in crystals[["material_id", "cif"]].dropna().itertuples(index=False):
        with writing(folder / _file(name)) as temporary:
            temporary.write_text(cif, encoding="utf-8")


def _file(name: str) -> str:
    file = quote(name, safe=" ")
    if len(file) > 200:  # file systems end at 255
        file = f"{file[:180]}-{hashlib.sha256(name.encode()).hexdigest()[:16]}"
    return f"{file}.cif"
