"""The third-party files: where each comes from, and how it is recognised.

They are data sets of the paper, and lie in `data/<name>/<split>.csv[.gz]` exactly as their authors published them.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

SPLITS = ("train", "val", "test")

_WYFORMER = "SymmetryAdvantage/WyckoffTransformer/507e8f147a0e87905c2574ebfbbfc9fa21c2fb09"
_CDVAE = "txie-93/cdvae/f857f598d6f6cca5dc1ea0582d228f12dcc2c2ea"


@dataclass(frozen=True)
class Origin:
    """Where a file comes from, and how it is recognised.

    Attributes:
        repository: "owner/name/commit" on GitHub; the file lies there under the same path.
        blob: its git blob id, None if we do not know it; the file is then used unverified.
        size: bytes, None if we do not know.
    """

    repository: str
    blob: str | None = None
    size: int | None = None


FILES = {
    "mp_20_biternary/train.csv.gz": Origin(_WYFORMER, "2eec15a565661f002a929742aa9fbb559adbf5d3"),
    "mp_20_biternary/val.csv.gz": Origin(
        _WYFORMER, "ea97fada8ab0bf4c9e2761a6ca62e3d10537aaa1", 1_460_439
    ),
    "mp_20_biternary/test.csv.gz": Origin(
        _WYFORMER, "220c041da79efde30db5b49ca639c21efa1cff4d", 1_452_762
    ),
    "mpts_52/train.csv.gz": Origin(_WYFORMER),
    "mpts_52/val.csv.gz": Origin(_WYFORMER, "9d6d985473ca03ddc85e183186a186693ad78002", 1_930_984),
    "mpts_52/test.csv.gz": Origin(_WYFORMER, "d37baba33ecbdeac2bc7191ba3e15e48b315d3f4", 3_197_100),
    "mp_20/train.csv": Origin(_CDVAE, "b1c9d498565ac2fd8d075a51ff2ef5e51ba6c21f"),
    "mp_20/val.csv": Origin(_CDVAE, "7efe4d7ebeb4f460ceaad35e5326c42111d9c9a1"),
    "mp_20/test.csv": Origin(_CDVAE, "5dc643041df53f5ce4970a79930ad262b4f07acd"),
} | {f"{name}/{split}.csv": Origin(_CDVAE) for name in ("perov_5", "carbon_24") for split in SPLITS}


def check(path: Path, name: str) -> None:
    """Compare a file with what is known of the one it should be.

    Args:
        name: the file's key in `FILES`.

    Raises:
        FileNotFoundError: if it is not there.
        ValueError: if it is another split, truncated or altered.
    """
    advice = "run `make data`, or `make data FROM=<folder that has it>`"
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there: {advice}")
    if found := fault(path, name):
        raise ValueError(f"{path} {found}; {advice}")


def fault(path: Path, name: str) -> str | None:
    """What is wrong with a file, as the end of a sentence that begins with its name; None if nothing is known to be.

    Args:
        name: the file's key in `FILES`, which `path` need not end in.
    """
    content = path.read_bytes()
    blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    origin = FILES[name]
    if blob == origin.blob:
        return None
    for other, its in FILES.items():
        if blob == its.blob:
            same = other.split("/")[0] == name.split("/")[0]
            return f"is the file {other}: wrong {'split' if same else 'data set'}"
    if origin.blob is None:
        return None
    if origin.size and len(content) < origin.size:
        return f"is truncated: {len(content):,} bytes of {origin.size:,}"
    return f"is altered or truncated: its git blob id is {blob}, not {origin.blob}"
