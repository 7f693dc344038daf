"""What several test modules share."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from dvc.repo import Repo
from lightning_fabric import Fabric

from wyk.coordinates import diffusion_training, frames
from wyk.coordinates.denoiser import Denoiser
from wyk.crystals.descriptors import VOCABULARY
from wyk.crystals.representation import WyckoffRepresentation
from wyk.crystals.tables import from_table
from wyk.files import datasets
from wyk.model import checkpoint
from wyk.model.tokenization import encode
from wyk.plumbing.params import Diffusion, Distil, Experiment, Model, Train
from wyk.plumbing.paths import DATA, ROOT
from wyk.training import fitting

PUBLISHED = ("mp_20_biternary/val.csv.gz", "mp_20_biternary/test.csv.gz", "mpts_52/test.csv.gz")
FOLDERS = DATA, ROOT.parent / "shared" / "data"
OFFICIAL = next((f for f in FOLDERS if all((f / name).is_file() for name in PUBLISHED)), None)

MODEL = Model(
    d=16,
    encoder_layers=2,
    query_layers=1,
    heads=2,
    feedforward=2,
    dropout=0.1,
    presence="kinds",
    balance=True,
    descriptors=True,
    attention="set",
)
TRAIN = Train(
    epochs=6,
    batch=128,
    targets="all",
    order="random",
    formal_masks=True,
    optimizer="adamw",
    lr=0.01,
    weight_decay=0.01,
    clip=1.0,
    schedule="cosine",
    warmup=0.1,
    variants=0.5,
    substitute=0.2,
    augment_until=0.5,
    evaluate_every=2,
    patience=6,
    refit=False,
    members=1,
    distil=None,
)


# Real crystals that any draw finds, one of low symmetry, and one that is formally invalid.
SALT = WyckoffRepresentation(225, ("Na", "Cl"), ("a", "b"))
HEUSLER = WyckoffRepresentation(225, ("Tm", "Mg", "Hg"), ("a", "b", "c"))
RUTILE = WyckoffRepresentation(136, ("Ti", "O"), ("a", "f"))
PEROVSKITE = WyckoffRepresentation(221, ("Sr", "Ti", "O"), ("a", "b", "c"))
LOW = WyckoffRepresentation(2, ("Li", "S", "S", "O"), ("a", "i", "i", "i"))
INVALID = WyckoffRepresentation(225, ("Na", "Cl"), ("a", "a"))

DISTIL = Distil(samples=100, epochs=1, real=0.1, lr=0.01, members=1)


def fit(folder, epochs=6, fabric=None, architecture=None, lessons=None, start=None, **changes):
    """A small model of the embedded crystals, and of lessons, if there are any: nine for each crystal."""
    settings = Experiment.model_construct(
        model=MODEL.model_copy(update=architecture or {}),
        train=TRAIN.model_copy(update={"epochs": epochs, "distil": DISTIL} | changes),
    )
    rows = from_table(datasets.load("aflow:train"))
    config = {"seed": 3} | fitting.of_data(rows)
    known = rows if lessons is None else rows + from_table(lessons)
    sets = (encode(known, VOCABULARY, variants=len(rows)), encode(rows[:50], VOCABULARY))
    fabric = fabric or Fabric(devices=1)
    fitting.fit(fabric, settings, *sets, folder, config, real=len(rows), start=start)


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("model")
    fit(path, epochs=12)
    return path


@pytest.fixture(scope="session")
def model(folder):
    return checkpoint.load(folder)


@pytest.fixture(scope="session")
def published(tmp_path_factory):
    """The shared model of `biternary_7k`, out of the DVC store that stands in git."""
    lock = yaml.safe_load((ROOT / "dvc.lock").read_text())["stages"]["train@biternary_7k"]
    store, folder = ROOT / ".dvc" / "store" / "files" / "md5", tmp_path_factory.mktemp("published")
    name = lock["outs"][0]["md5"]
    for entry in json.loads((store / name[:2] / name[2:]).read_text()):
        source = store / entry["md5"][:2] / entry["md5"][2:]
        shutil.copy(source, folder / entry["relpath"])
    return checkpoint.load(folder)


DIFFUSION = Diffusion(d=16, layers=2, epochs=2, batch=32, lr=0.003)


@pytest.fixture(scope="session")
def framed() -> list[tuple]:
    """Some embedded crystals in their frames."""
    return [frames.of_structure(crystal) for _, crystal in datasets.structures("aflow:val")[0]]


def undiffused(framed: list[tuple]) -> Denoiser:
    """An untrained diffusion of all elements of these crystals."""
    torch.manual_seed(1)
    return diffusion_training.untrained(DIFFUSION, framed)


@pytest.fixture(scope="session")
def diffused(framed, tmp_path_factory) -> Path:
    """Folder of a small diffusion."""
    path = tmp_path_factory.mktemp("diffusion")
    diffusion_training.fit(undiffused(framed), framed, path, {"seed": 1})
    return path


@pytest.fixture(scope="session")
def data():
    return encode(from_table(datasets.load("aflow:test")), VOCABULARY)


@pytest.fixture
def official() -> Path:
    """Folder of the MP-20 files, which are not redistributed; without it the test is skipped."""
    if OFFICIAL is None:
        pytest.skip("needs MP-20 in data/ or ../shared/data")
    return OFFICIAL


# Results stay behind, measured times do not.
OTHERS = re.compile(r"\.dvc/store/|figures/(?!benchmarks/)")


class Copy:
    """A copy of the repository in which the commands of a user run, away from the real results."""

    def __init__(self, root: Path):
        self.root = root
        listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
        names = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout
        for name in filter(None, names.split("\0")):
            if (ROOT / name).is_file() and not OTHERS.match(name):
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, root / name)
        self.run("git", "init", "--quiet")
        self.run("git", "add", "--all")
        author = ["-c", "user.name=wyk", "-c", "user.email=wyk@localhost"]
        self.run("git", *author, "commit", "--quiet", "--no-verify", "-m", "copy")

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess:
        """A command in the copy, with the copy's ``wyk`` and this environment's tools."""
        environment = os.environ | {
            "PYTHONPATH": str(self.root),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "OMP_NUM_THREADS": "1",
        }
        result = subprocess.run(
            command, cwd=self.root, env=environment, capture_output=True, text=True
        )
        assert not check or result.returncode == 0, result.stdout + result.stderr
        return result

    def repro(self, *arguments: str) -> list[str]:
        """``dvc repro`` of the quick experiment: the stages that ran, in order."""
        lines = self.run("dvc", "repro", "--glob", "*@quick", *arguments).stdout.splitlines()
        return [line.split("'")[1] for line in lines if line.startswith("Running stage")]

    def set(self, experiment: str, section: str, **settings) -> None:
        """Changes settings in the copy's params.yaml."""
        path = self.root / "params.yaml"
        content = yaml.safe_load(path.read_text())
        target = content["experiments"][experiment][section]
        assert settings.keys() <= target.keys()
        target.update(settings)
        path.write_text(yaml.safe_dump(content, sort_keys=False))


def up_to_date() -> bool:
    """Whether `make repro` was run here, of the code as it stands."""
    with Repo(ROOT) as repo:
        return not [name for name in repo.status() if name.endswith("@quick")]


@pytest.fixture(scope="session")
def pipeline(tmp_path_factory) -> Copy:
    """A copy of the repository with the results of `quick`, which is run here if `make repro` did not."""
    copy = Copy(tmp_path_factory.mktemp("repository"))
    if up_to_date():
        for folder in (
            "figures/quick",
            "runs/quick",
            ".dvc/cache",
        ):  # DVC looks into the cache, too
            shutil.copytree(ROOT / folder, copy.root / folder, dirs_exist_ok=True)
    else:
        copy.repro()
    return copy
