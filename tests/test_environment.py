"""pyproject.toml, requirements.lock, environment.yml and what is installed say the same."""

import re
import sys
import tomllib
from importlib import metadata

import pytest
import yaml
from packaging.requirements import Requirement

from wyk.plumbing.paths import ROOT


def pins(lines) -> dict[str, str]:
    """``name==version`` lines as {normalised name: version}; a line of another form fails."""
    found = {}
    for line in lines:
        pin = re.fullmatch(r"([\w.-]+)==([\w.]+)", line.strip())
        assert pin, f"not an exact pin: {line!r}"
        found[re.sub(r"[-_.]+", "-", pin[1]).lower()] = pin[2]
    return found


@pytest.fixture(scope="module")
def direct() -> dict[str, str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return pins(project["dependencies"] + project["optional-dependencies"]["dev"])


@pytest.fixture(scope="module")
def lock() -> dict[str, str]:
    return pins((ROOT / "requirements.lock").read_text().splitlines())


def test_lock_holds_every_direct_dependency(direct, lock):
    assert direct.items() <= lock.items()


def test_environment_yml_says_the_same(direct):
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    (pip,) = [d["pip"] for d in environment["dependencies"] if isinstance(d, dict)]
    assert pins(line for line in pip if not line.startswith("--")) == direct
    assert "--constraint requirements.lock" in pip


def test_installed_is_what_is_locked(lock):
    installed = {name: metadata.version(name).split("+")[0] for name in lock}
    assert installed == lock


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the lock is made with Python 3.11")
def test_lock_covers_the_whole_closure(lock):
    """Nothing that a locked package needs is left for pip to choose."""
    for name in lock.keys() - {"torch"}:  # what torch needs depends on its build, CPU or CUDA
        for text in metadata.requires(name) or []:
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                needed = re.sub(r"[-_.]+", "-", requirement.name).lower()
                assert needed in lock or needed == "pip", f"{name} needs {needed}, not in the lock"


def test_a_loose_pin_is_seen():
    with pytest.raises(AssertionError, match="not an exact pin"):
        pins(["torch>=2"])
