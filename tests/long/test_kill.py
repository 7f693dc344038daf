"""Long commands, killed at any moment, on a full disk, and two at once in one folder."""

import random
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from long import campaign
from long.campaign import Running, contents, run

pytestmark = pytest.mark.long


@dataclass(frozen=True)
class Command:
    """A command with its final files, all of which follow from the seed.

    Attributes:
        arguments: "STOCK" stands for the folder of inputs.
        final: patterns of the files that are its result, in the folder where it runs.
        repository: whether it works in a repository, which is then that folder.
    """

    arguments: str
    final: tuple[str, ...] = ("out*", "out/**/*.cif", "out/*.parquet", "out/*.html")
    repository: bool = False


EVALUATED = "--reference STOCK/test.parquet --training STOCK/train.parquet"
COMMANDS = {
    "represent": Command("represent STOCK/crystals.csv -o out.parquet"),
    "sample": Command("sample --model STOCK/model -n 2000 -o out.parquet"),
    "likelihood": Command("likelihood --model STOCK/model STOCK/test.parquet -o out.parquet"),
    "structures": Command("structures STOCK/six.parquet -o out --draws 2"),
    "reference": Command("reference STOCK/crystals.csv -o out.csv"),
    "evaluate": Command(f"evaluate STOCK/crystals.csv {EVALUATED} --judged out.p -o out.json"),
    "compare": Command(f"compare A=STOCK/crystals.csv B=STOCK/val.parquet {EVALUATED} -o out", ("out/*",)),
    "generate": Command("generate -n 4 --draws 1 --model STOCK/model -o out"),
    "sweep": Command(f"sweep --model STOCK/model --temperatures 0.5,2 -n 50 {EVALUATED} -o out.csv"),
    "recovery": Command("recovery STOCK/crystals.csv -n 4 --draws 1 -o out.parquet"),
    "match": Command("match STOCK/crystals.csv --diffusion STOCK/diffusion -n 3 --draws 1 -o out.parquet"),
    "baseline": Command("baseline substitution --known STOCK/train.parquet -n 5000 -o out.parquet"),
    "train": Command("train --experiment quick", ("runs/quick/train/*.*",), True),
    "diffusion": Command("diffusion --experiment quick", ("runs/quick/diffusion/*.*",), True),
    "trials": Command("trials --experiment quick", ("figures/quick/trials.csv", "figures/quick/trials_log.csv"), True),
    "downloads": Command("wyk.files.downloads --from STOCK/data", ("data/**/*",), True),
}  # fmt: skip


class Scene:
    """A command, and what it writes undisturbed.

    Args:
        name: of the command.
        stock: folder of inputs.
        folder: for the folders of each run.
    """

    def __init__(self, name: str, stock: Path, folder: Path):
        self.command, self.stock, self.folder = COMMANDS[name], stock, folder
        self.arguments = self.command.arguments.replace("STOCK", str(stock)).split()
        self.place = self.fresh("undisturbed")
        begin = time.monotonic()
        end = self.run(self.place)
        assert end.code == 0, end.said
        self.seconds = time.monotonic() - begin
        self.expected = self.files(self.place)
        assert self.expected

    def fresh(self, name: str) -> Path:
        """A folder to run in that has nothing of an earlier run."""
        place = self.folder / name
        shutil.rmtree(place, ignore_errors=True)
        if self.command.repository:
            shutil.copytree(self.stock / "repository", place)
        else:
            place.mkdir()
        return place

    def options(self, place: Path) -> dict:
        return {"repository": place} if self.command.repository else {}

    def run(self, place: Path, *more: str, **options) -> campaign.End:
        return run([*self.arguments, *more], place, **self.options(place), **options)

    def start(self, place: Path) -> Running:
        return Running(self.arguments, place, **self.options(place))

    def files(self, place: Path) -> dict[str, bytes]:
        return contents(place, *self.command.final)

    def faults(self, place: Path, whole: bool) -> list[str]:
        """What is wrong with the files that stand there: all of them, if it is to be whole."""
        found = self.files(place)
        wrong = [f"{name} differs" for name in found if found[name] != self.expected.get(name)]
        missing = [f"{name} is missing" for name in self.expected if name not in found]
        return wrong + (missing if whole else [])


@pytest.fixture(scope="module", params=COMMANDS)
def scene(request, stock, tmp_path_factory):
    return Scene(request.param, stock, tmp_path_factory.mktemp(request.param))


def _named(row, scene, how: str) -> None:
    row.attacked, row.how = f"`wyk {scene.arguments[0].removeprefix('wyk.')}`", how


def test_killed_at_any_moment(scene, row):
    """Up to three kills one after the other, of all processes or only the first; then a run to the end."""
    _named(row, scene, "kill -9")
    for seed in campaign.rounds(60 * campaign.MINUTES * (1 - campaign.FUZZING) / len(COMMANDS)):
        moments = random.Random(seed)
        place = scene.fresh("killed")
        killed = []
        for _ in range(moments.randint(1, 3)):
            running = scene.start(place)
            end = running.wait(moments.uniform(0, scene.seconds))
            running.kill(group=moments.random() < 0.5)
            killed.append(running)
            kind = "killed" if end.code is None else end.kind()
            row.count(kind, place, *scene.faults(place, whole=False))
        end = scene.run(place)
        for running in killed:  # what they left behind
            running.kill()
        faults = scene.faults(place, whole=True) if end.code == 0 else ["the rerun failed"]
        row.count(end.kind(), place, *faults)


def test_two_at_once_in_one_folder(scene, row):
    """Either one is refused, or both end with the right result."""
    _named(row, scene, "two runs at once")
    for seed in range(2):
        place = scene.fresh("twice")
        first = scene.start(place)
        first.wait(random.Random(seed).uniform(0, scene.seconds / 2))
        second = scene.start(place)
        ends = [first.wait(), second.wait()]
        for end in ends:
            row.count(end.kind(), place)
        faults = scene.faults(place, whole=True)
        faults += [] if 0 in [end.code for end in ends] else ["neither came to an end"]
        row.count("done", place, *faults)


def test_a_disk_that_is_full(scene, row):
    """Files may not grow beyond a part of the largest one; a result that was there stays, and a rerun is right."""
    _named(row, scene, "no file beyond a random size")
    largest = max(map(len, scene.expected.values()))
    # memory that torch's processes share would count as files
    alone = ["--jobs", "1"] if "diffusion" in scene.arguments else []
    for seed in range(2):
        place = scene.fresh("full")
        if before := seed % 2:
            shutil.copytree(scene.place, place, dirs_exist_ok=True)
        size = random.Random(seed).randrange(1, largest)
        end = scene.run(place, *alone, size=size)
        row.count(end.kind(), place, *scene.faults(place, whole=before))
        end = scene.run(place)
        row.count(end.kind(), place, *scene.faults(place, whole=True))


# Its contents are gone with the process that mounted it: they are copied out first.
MOUNTED = """mount -t tmpfs -o size="$0" none . && cd "$PWD" && cp -a ../before/. . || exit 99
"$@"; code=$?
cp -a . ../after; exit $code"""


@pytest.mark.parametrize("name", ["represent", "structures", "generate", "compare"])
def test_a_file_system_that_is_full(name, row, stock, tmp_path):
    """The same with a real one, where users may mount one."""
    inside = ["unshare", "--user", "--map-root-user", "--mount"]
    if subprocess.run(["sh", "-c", f"{' '.join(inside)} mount -t tmpfs none /mnt"]).returncode:
        pytest.skip("needs unshare, and user namespaces in which one may mount")
    scene = Scene(name, stock, tmp_path)
    _named(row, scene, "full file system")
    total = sum(map(len, scene.expected.values()))
    for seed in range(2):
        for place in ("before", "after", "full"):
            scene.fresh(place)
        if before := seed % 2:  # then there is no room for anything else
            shutil.copytree(scene.place, tmp_path / "before", dirs_exist_ok=True)
        size = 4096 * len(scene.expected) + int(
            total * (1.1 if before else random.Random(seed).random())
        )
        wrapper = [*inside, "sh", "-c", MOUNTED, str(size)]
        end = run(scene.arguments, tmp_path / "full", wrapper=wrapper)
        assert end.code != 99, end.said
        row.count(end.kind(), tmp_path / "after", *scene.faults(tmp_path / "after", whole=before))
