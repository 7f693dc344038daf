"""Every path of the repository, and the one way a file gets its final name."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_REPOSITORY = Path(__file__).resolve().parents[2]

# An installed copy of the package has no repository around it: it works where it is called.
ROOT = _REPOSITORY if (_REPOSITORY / "params.yaml").is_file() else Path.cwd()
DATA = ROOT / "data"
RUNS = ROOT / "runs"
FIGURES = ROOT / "figures"
NOTEBOOKS = ROOT / "notebooks"
PARAMS = ROOT / "params.yaml"
# What was downloaded for this user, as the XDG specification has it.
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "wyk"


def run(experiment: str, stage: str) -> Path:
    """Folder of one stage's results, such as ``runs/quick/train``."""
    return RUNS / experiment / stage


def figures(experiment: str) -> Path:
    """Folder of an experiment's figures and metrics, which stand in git."""
    return FIGURES / experiment


@contextmanager
def alone(folder: str | Path) -> Iterator[None]:
    """Lets one run at a time work in a folder, which is made if need be; a killed one is in nobody's way.

    Raises:
        BlockingIOError: if another run is there.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BlockingIOError(f"{folder}: another run is working there") from error
        yield
    finally:
        os.close(handle)


@contextmanager
def writing(path: str | Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that takes its name when the block ends well.

    Nothing half-written ever stands under the final name: on any exception, Ctrl-C included, the
    temporary file is deleted and what stood under ``path`` before is left as it was. The temporary
    name ends like the final one, because pandas and matplotlib choose a format by it.

    Raises:
        OSError: naming ``path``, when its folder cannot be made or written to, or the disk is full.
        FileNotFoundError: if the block wrote nothing.
    """
    path = Path(path)
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb+") as file:  # on the disk before it is visible
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        unnamed = error.filename is None and error.errno is not None
        if unnamed or error.filename in (temporary, str(temporary)):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)
