"""The documentation: built as `make docs` does, without warnings, with a place for everything that there is."""

import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

import wyk
from wyk.cli import main as cli
from wyk.plots import table1
from wyk.plumbing.paths import NOTEBOOKS, ROOT

pytestmark = pytest.mark.xdist_group("docs")

FOUND = pkgutil.walk_packages(wyk.__path__, "wyk.")
MODULES = [m.name.removeprefix("wyk.") for m in FOUND if not m.ispkg]
PARTS = r'<(?:img|script)\b[^>]*\bsrc="([^"]+)"|<link\b[^>]*\brel="(?:stylesheet|icon)"[^>]*\bhref="([^"]+)"'


def run(*arguments: str | Path) -> subprocess.CompletedProcess:
    """A program of Python in the repository."""
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True)


def render(source: Path, out: Path) -> subprocess.CompletedProcess:
    return run("-m", "sphinx", "-W", "--keep-going", "-q", "-c", "docs", source, out)


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("docs")
    for done in (
        run("docs/pages.py", folder / "source"),
        render(folder / "source", folder / "html"),
    ):
        assert done.returncode == 0, done.stderr
        assert not done.stderr
    return folder / "html"


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def test_every_module_has_its_page(site):
    index = read(site / "api/index.html")
    for name in MODULES:
        assert f'id="module-wyk.{name}"' in read(site / f"api/{name}.html")
        assert f'href="{name}.html"' in index
    assert 'id="wyk.common.estimates.wilson"' in read(site / "api/common.estimates.html")


def test_every_command_is_explained(site):
    text = read(site / "commands.html")
    for name in get_command(cli.app).commands:
        assert f'id="wyk-{name}"' in text
        assert f"Usage: wyk {name} " in text


def test_every_metric_has_its_definition_and_values(site):
    pages = {path: read(path) for path in (site / "metrics").glob("*.html")}
    for row in table1.ROWS:
        entry = f'<span class="pre">{row}</span></code> of</p></th>'
        (page,) = [text for text in pages.values() if entry in text]
        for part in ("Counted", "Over", "Function", "Trap", "Source"):
            assert f"<strong>{part}</strong>" in page, f"{row}: {part}"
    assert not [path for path, text in pages.items() if "<!-- " in text.partition("<article")[2]]


def test_every_notebook_shows_its_figures(site):
    for path in NOTEBOOKS.glob("*.ipynb"):
        page = read(site / f"notebooks/{path.stem}.html")
        saved = r'plots\.save\(figure, experiment, \\"(\w+)'
        for name in re.findall(saved, read(path)):
            assert f"{name}.png" in page, f"{path.name}: {name}"


def parts(page: Path) -> list[str]:
    """Pictures, scripts and styles that a page shows or runs."""
    found = ("".join(groups).partition("?")[0] for groups in re.findall(PARTS, read(page)))
    return [name for name in found if not name.startswith("data:")]


def test_all_that_a_page_needs_is_beside_it(site):
    shown = {page: parts(page) for page in site.rglob("*.html")}
    for page, names in shown.items():
        missing = [name for name in names if not (page.parent / name).is_file()]
        assert not missing, f"{page.name} needs {missing}"
    assert any(name.endswith("tokens.png") for name in shown[site / "index.html"])


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[a page](nowhere.md)", "nowhere.md"),
        ("[a heading](#nothing)", "nothing"),
        ("[`ks`](#wyk.common.estimates.kss)", "wyk.common.estimates.kss"),
        ("![a figure](nowhere.png)", "nowhere.png"),
    ],
)
def test_a_broken_link_fails_the_build(tmp_path, text, complaint):
    (tmp_path / "index.md").write_text(f"# Page\n\n{text}\n", encoding="utf-8")
    done = render(tmp_path, tmp_path / "html")
    assert done.returncode != 0
    assert complaint in done.stderr
