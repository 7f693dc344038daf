"""What the parts of the reliability campaign share: commands in processes that may be killed, and the book they keep.

`make test-long MINUTES=60 SEED=7` sets how long the open-ended parts take together, and what they draw.
"""

import contextlib
import os
import resource
import shutil
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from random import Random

import hypothesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from wyk.cli import main as cli
from wyk.plumbing import paths

MINUTES = float(os.environ.get("MINUTES", 8))
SEED = int(os.environ.get("SEED", 0))
FUZZING = 7 / 12  # of the minutes; the rest is for kills
MEMORY = 4 * 2**30  # bytes that a process of a command may take
HANGS = 1800.0  # seconds after which a command hangs, on however busy a machine
KEPT = paths.RUNS / "reliability"  # folders of the cases that found something
FINE = ("done", "refused", "killed")  # as a case may end
SENTENCE = 2000  # characters; an error longer than this is no sentence


@dataclass(frozen=True)
class End:
    """How a command ended: its exit code (None: still running), what it printed, and its peak memory in bytes."""

    code: int | None
    said: str
    memory: int

    def kind(self) -> str:
        """ "done", "refused" (exit code 1 and one sentence), or what it must not be."""
        last = self.said.rstrip().rpartition("\n")[2]
        if "Traceback" in self.said:
            return f"crashed: {last[:200]}"
        if self.code == 0:
            return "done"
        sentence = (
            last.startswith("wyk: ") or ": FAILED: " in last
        )  # the second of wyk.files.downloads
        if self.code == 1 and sentence and len(last) < SENTENCE:
            return "refused"
        return "hung" if self.code is None else f"ended with {self.code}: {last[:200]}"


class Running:
    """A `wyk` command in a session of its own, forked from this process, which has imported everything already.

    Args:
        arguments: of the command.
        folder: where it runs.
        repository: one whose `wyk` and params.yaml are to be used; that takes seconds to import.
        wrapper: a command that runs this one.
        size: bytes a file may have, as if the disk were full then.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        folder: Path,
        repository: Path | None = None,
        wrapper: Sequence[str] = (),
        size: int | None = None,
    ):
        self._output, writer = os.pipe()
        self._memory = 0
        self._said = b""
        self.code = None
        self.pid = os.fork()
        if self.pid == 0:
            _become([str(a) for a in arguments], folder, repository, wrapper, size, writer)
        os.close(writer)
        os.set_blocking(self._output, False)

    def wait(self, seconds: float = HANGS) -> End:
        """Its end, or what it is after so many seconds."""
        deadline = time.monotonic() + seconds
        while self.code is None:
            self._read()
            pid, status, usage = os.wait4(self.pid, os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
                self._memory = usage.ru_maxrss * 1024
                self._read()
            elif time.monotonic() > deadline:
                break
            else:
                time.sleep(0.003)
        return End(self.code, self._said.decode(errors="replace"), self._memory)

    def kill(self, group: bool = True) -> End:
        """kill -9 for it, and for all its processes or none."""
        with contextlib.suppress(ProcessLookupError):
            (os.killpg if group else os.kill)(self.pid, signal.SIGKILL)
        return self.wait()

    def _read(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while part := os.read(self._output, 65536):
                self._said += part


def _become(arguments, folder, repository, wrapper, size, output) -> None:
    """What the forked process does; it never returns."""
    code = 70
    try:
        os.setsid()
        os.chdir(folder)
        os.dup2(output, 1)
        os.dup2(output, 2)
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, resource.RLIM_INFINITY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if size is not None:  # Python ignores SIGXFSZ, so that a write fails as on a full disk
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        if repository or wrapper:
            module = [] if arguments[0].startswith("wyk.") else ["wyk.cli.main"]
            command = [*wrapper, sys.executable, "-m", *module, *arguments]
            environment = os.environ | {"PYTHONPATH": str(repository or paths.ROOT)}
            os.execvpe(command[0], command, environment)
        sys.argv, sys.stdout, sys.stderr = ["wyk", *arguments], os.fdopen(1, "w"), os.fdopen(2, "w")
        cli.main()
        code = 0
    except SystemExit as end:
        code = end.code or 0
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def run(arguments: Sequence[str], folder: Path, **options) -> End:
    """A command, to its end; what takes too long is killed."""
    running = Running(arguments, folder, **options)
    end = running.wait()
    running.kill()
    return end


@dataclass
class Row:
    """A row of the table: what was attacked and how, and what came of it."""

    attacked: str = ""
    how: str = ""
    seconds: float = 0.0
    outcomes: Counter = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)  # each kind once
    remark: str = ""

    def count(self, outcome: str, folder: Path | None = None, *faults: str) -> None:
        """One more case; of each kind of fault the first case's folder is kept."""
        fine = outcome in FINE
        self.outcomes[outcome if fine else "wrong"] += 1
        for fault in faults if fine else (*faults, outcome):
            if fault in self.findings:
                continue
            self.findings.append(fault)
            if folder:
                place = KEPT / f"{self.attacked}-{self.how}-{len(self.findings)}".replace(" ", "_")
                shutil.rmtree(place, ignore_errors=True)
                shutil.copytree(folder, place, symlinks=True)
                (place / "FAULT").write_text(fault)

    def settle(self) -> None:
        """Fail if anything was found."""
        found = "\n".join(self.findings)
        assert not found, f"{self.attacked}, {self.how} (SEED={SEED}; cases in {KEPT}):\n{found}"


def rounds(seconds: float) -> Iterator[int]:
    """Seeds, one after the other, for so many seconds; one at least."""
    deadline = time.monotonic() + seconds
    for seed in count(1000 * SEED):
        yield seed
        if time.monotonic() > deadline:
            return


def hammer(case: Callable[[Random], None], seconds: float) -> None:
    """Hypothesis on a case, with one seed after the other, for so many seconds."""
    deadline = time.monotonic() + seconds

    def bounded(random: Random) -> None:
        if time.monotonic() < deadline:
            case(random)

    often = settings(
        max_examples=100, deadline=None, database=None,
        phases=[Phase.generate], suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    for seed in rounds(seconds):
        hypothesis.seed(seed)(often(given(st.randoms(use_true_random=True))(bounded)))()


def contents(folder: Path, *patterns: str) -> dict[str, bytes]:
    """Path within the folder → bytes of its files; temporary ones, whose names begin with a dot, are none of them."""
    files = {file for pattern in patterns or ("**/*",) for file in folder.glob(pattern)}
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in sorted(files)
        if file.is_file() and not file.name.startswith(".")
    }
