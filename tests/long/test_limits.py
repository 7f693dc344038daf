"""Bombs and crowds: time and memory that a command takes are bounded, whatever stands in a file."""

import gzip
import tarfile
import zipfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pandas as pd
import pytest

from long.campaign import run

pytestmark = pytest.mark.long

GIGABYTE = 2**30
MOST = 3 * GIGABYTE  # of memory: a hundred rows of 16 MB are on their way at a time
PER_ROW = 4096  # bytes that each further row of a table may add to the peak
SITES = "data_x\n_cell_length_a 90\n_cell_length_b 90\n_cell_length_c 90\n" + "".join(
    f"_cell_angle_{angle} 90\n" for angle in ("alpha", "beta", "gamma")
)
LOOP = "loop_\n" + "".join(
    f"_atom_site_{c}\n" for c in ("type_symbol", "fract_x", "fract_y", "fract_z")
)


def _gz(folder: Path, start: bytes) -> str:
    (folder / "in.csv.gz").write_bytes(gzip.compress(start) + 64 * gzip.compress(b"x" * 2**24))
    return "in.csv.gz"


def gz_bomb(folder: Path) -> str:
    """A gigabyte without the end of a line in a CSV.gz."""
    return _gz(folder, b"cif\n")


def quoted_bomb(folder: Path) -> str:
    """A gigabyte within quotes in a CSV.gz."""
    return _gz(folder, b'cif\n"')


def zip_bomb(folder: Path) -> str:
    """Members that unpack to two gigabytes, beyond the folder."""
    with zipfile.ZipFile(folder / "in.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for i in range(4):
            archive.writestr(f"../{i}.cif", b" " * 2**29)
    return "in.zip"


def tar_bomb(folder: Path) -> str:
    """A gigabyte as the name of a member of a tar.gz."""
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, GIGABYTE
    blanks = 64 * gzip.compress(b" " * 2**24)
    (folder / "in.tar.gz").write_bytes(gzip.compress(info.tobuf()) + blanks)
    return "in.tar.gz"


def json_bomb(folder: Path) -> str:
    """A gigabyte of one list in a JSON.gz."""
    rows = 64 * gzip.compress(b"[]," * (2**24 // 3))
    (folder / "in.json.gz").write_bytes(gzip.compress(b'{"data": [[') + rows)
    return "in.json.gz"


def cif_bomb(folder: Path) -> str:
    """A gigabyte of a CIF.gz."""
    (folder / "in.cif.gz").write_bytes(64 * gzip.compress(b"#" * 2**24))
    return "in.cif.gz"


def frame_bomb(folder: Path) -> str:
    """A frame of a thousand million atoms."""
    frame = gzip.compress(b"999999999\n") + 64 * gzip.compress(b"H 0 0 0\n" * 2**21)
    (folder / "in.xyz.gz").write_bytes(frame)
    return "in.xyz.gz"


def crowd(folder: Path) -> str:
    """A crystal of 100,000 atoms."""
    atoms = "".join(f"Fe .{i % 47:02} .{i // 47 % 47:02} .{i // 2209:02}\n" for i in range(100_000))
    (folder / "in.cif").write_text(SITES + LOOP + atoms)
    return "in.cif"


def heap(folder: Path) -> str:
    """As many atoms as may be, all in one place."""
    (folder / "in.cif").write_text(SITES + LOOP + "Fe 0 0 0\n" * 10_000)
    return "in.cif"


def operations(folder: Path) -> str:
    """A million symmetry operations."""
    symmetry = "loop_\n_symmetry_equiv_pos_as_xyz\n" + "x,y,z\n" * 10**6
    (folder / "in.cif").write_text(SITES + symmetry + LOOP + "Fe 0 0 0\n")
    return "in.cif"


BOMBS = [
    gz_bomb, quoted_bomb, zip_bomb, tar_bomb, json_bomb, cif_bomb, frame_bomb, crowd, heap, operations,
]  # fmt: skip


@pytest.mark.parametrize("bomb", BOMBS)
@pytest.mark.parametrize("command", ["represent", "evaluate"])
def test_bombs_are_refused_within_bounds(bomb, command, row, stock, tmp_path):
    row.attacked, row.how = f"`wyk {command}`", bomb.__doc__.rstrip(".")
    (tmp_path / "in").mkdir()
    name = bomb(tmp_path / "in")
    reference = ["--reference", stock / "test.parquet"] if command == "evaluate" else []
    end = run([command, f"in/{name}", *reference, "-o", "out.x", "--jobs", "1"], tmp_path)
    fine = end.kind() == "refused" or (command == "evaluate" and end.kind() == "done")
    reasons = (tmp_path / "out.rejected.csv").is_file() or name in end.said
    outside = {p.name for p in tmp_path.iterdir()} - {"in", "out.x", "out.rejected.csv"}
    faults = (
        [] if fine and reasons and not outside else [f"{end.kind()} {outside} {end.said[-300:]}"]
    )
    faults += [f"{end.memory / GIGABYTE:.1f} GB"] if end.memory > MOST else []
    row.count(end.kind(), tmp_path, *faults)
    row.remark = f"{end.memory / 2**20:,.0f} MB"


def crystals(stock: Path, n: int, path: Path) -> None:
    """A CSV of n CIFs."""
    good = pd.read_csv(stock / "crystals.csv")["cif"][:12].tolist()
    pd.DataFrame({"cif": (good * (n // 12 + 1))[:n]}).to_csv(path)


def representations(stock: Path, n: int, path: Path) -> None:
    """A Parquet of n representations."""
    frame = pd.read_parquet(stock / "train.parquet")
    frame.sample(n, replace=True, random_state=0).to_parquet(path)


@pytest.mark.parametrize("command", ["represent", "evaluate"])
def test_memory_for_a_hundred_thousand_rows(command, row, stock, tmp_path):
    """From 10,000 rows to 100,000 the peak grows by less than PER_ROW for each.

    Another process makes the rows: the command is forked from this one, and its peak counts what this one holds.
    """
    row.attacked, row.how = f"`wyk {command}`", "100,000 rows"
    reference = ["--reference", stock / "test.parquet"] if command == "evaluate" else []
    make, kind = (representations, "parquet") if reference else (crystals, "csv")
    peaks = {}
    for n in (10_000, 100_000):
        with ProcessPoolExecutor(1) as aside:
            aside.submit(make, stock, n, tmp_path / f"{n}.{kind}").result()
        end = run([command, f"{n}.{kind}", *reference, "-o", f"{n}.out.x"], tmp_path)
        peaks[n] = end.memory
        row.count(end.kind(), None)
    growth = (peaks[100_000] - peaks[10_000]) / 90_000
    row.remark = (
        f"{peaks[100_000] / 2**20:,.0f} MB at most, {growth:,.0f} bytes for each further row"
    )
    row.findings += [row.remark] if growth > PER_ROW else []
