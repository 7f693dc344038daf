"""`make repro` gives the same bytes on processors of other kinds, which QEMU emulates (Debian: `qemu-user`)."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from wyk.plumbing.paths import ROOT

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not shutil.which("qemu-x86_64"), reason="needs qemu-x86_64"),
]

PINS = dict(re.findall(r"^repro: export (\w+) := (.*)$", (ROOT / "Makefile").read_text(), re.M))
# A model is trained, and samples; a crystal is drawn and relaxed.
PROGRAM = """
import hashlib, sys
from pathlib import Path
sys.path.insert(0, "tests")
from conftest import RUTILE, fit
from wyk import relaxation, sampling
from wyk.coordinates import pyxtal_start
from wyk.model import checkpoint

folder = Path(sys.argv[1])
fit(folder, epochs=1)
samples = sampling.sample(checkpoint.load(folder), 5, seed=1).to_csv()
crystal = relaxation.relax(pyxtal_start.draw(RUTILE, 0))
weights = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
print(weights, samples, crystal.energy_per_atom, crystal.structure.frac_coords.tobytes())
"""


def result(folder: Path, *emulator: str, pins: dict[str, str] = PINS) -> str:
    # QEMU runs the interpreter itself; packages of a virtual environment are named to it
    environment = os.environ | pins | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [*emulator, Path(sys.executable).resolve(), "-c", PROGRAM, folder]
    return subprocess.run(
        command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True
    ).stdout


def test_another_processor_changes_nothing(tmp_path):
    here = result(tmp_path / "here")
    assert result(tmp_path / "unpinned", pins={}) != here  # where it has more to offer
    for processor in ("Nehalem", "Haswell"):
        assert result(tmp_path / processor, "qemu-x86_64", "-cpu", processor) == here
