"""Notebooks as a reader meets them: opened in JupyterLab, in a browser, and run from the menu.

`make test-browser` runs this, with two of the notebooks, `make test-long` with all; `make test` leaves it out: it needs
Chromium and the results of `make repro`. What the browser showed is kept in ``runs/browser/<notebook>.png``.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from functools import partial
from io import BytesIO
from pathlib import Path

import nbformat
import pytest
from conftest import Copy
from dvc.repo import Repo
from PIL import Image
from playwright.sync_api import sync_playwright
from pymatgen.core import Lattice, Structure

from wyk.plots import base as plots
from wyk.plots import viewer
from wyk.plumbing.paths import NOTEBOOKS, ROOT, RUNS

pytestmark = pytest.mark.browser

PICTURES = RUNS / "browser"
MINUTE = 60_000  # milliseconds, as Playwright counts
WIDTH = 1280
DRAWN = 50  # colours of a drawing with shades; a blank one has one or two
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = [  # root has no sandbox, and none of these services is of use here
    "--no-sandbox",
    "--disable-gpu",
    "--enable-unsafe-swiftshader",  # WebGL without a graphics card
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SETTINGS = {  # of JupyterLab: no questions and no news, and every cell stands in the page
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "notebook-extension/tracker": {"windowingMode": "none", "scrollPastEnd": False},
}
FINISHED = """() => {
    const prompts = [...document.querySelectorAll(".jp-CodeCell .jp-InputPrompt")]
        .map(prompt => prompt.textContent);
    return prompts.some(text => /[0-9]/.test(text)) && !prompts.includes("[*]:")
        && [...document.images].every(image => image.complete);
}"""
READ_CELLS = """cells => cells.map(cell => ({
    prompt: cell.querySelector(".jp-InputPrompt").textContent,
    errors: [...cell.querySelectorAll('[data-mime-type$=".error"], [data-mime-type$=".stderr"]')]
        .map(output => output.textContent),
    figures: [...cell.querySelectorAll(".jp-OutputArea-output img")]
        .filter(image => image.naturalWidth > 0).length,
}))"""


@pytest.fixture(scope="module")
def repository(tmp_path_factory) -> Path:
    """A copy of the repository with the results of ``quick``: JupyterLab saves what it runs."""
    copy = Copy(tmp_path_factory.mktemp("repository")).root
    with Repo(ROOT) as repo:
        stages = [stage for stage in repo.index.stages if stage.addressing.endswith("@quick")]
        results = [out.def_path for stage in stages for out in stage.outs]
    missing = [path for path in results if not (ROOT / path).exists()]
    if missing:
        pytest.exit(
            f"no {', '.join(missing)}: `make repro` makes what notebooks need", returncode=1
        )
    for folder in ("figures/quick", "runs/quick"):  # but for what 00_quickstart makes itself
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("quickstart"))
    return copy


@pytest.fixture(scope="module")
def lab(repository, tmp_path_factory):
    """A JupyterLab in the copy, with settings and histories of its own: its address and token."""
    home = tmp_path_factory.mktemp("jupyter")
    for name, settings in SETTINGS.items():
        path = home / f"lab/user-settings/@jupyterlab/{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(settings))
    places = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
    environment = os.environ | dict.fromkeys(places, str(home))
    environment |= {"PYTHONPATH": str(repository)}  # the kernels import the copy's wyk
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"]
    command += ["--ip=127.0.0.1", "--port=0"]  # a free one; JupyterLab makes the token, too
    command += ["--LabApp.extension_manager=readonly"]  # the usual one asks the package index
    PICTURES.mkdir(parents=True, exist_ok=True)
    with (PICTURES / "jupyterlab.log").open("w") as log:
        server = subprocess.Popen(
            command, cwd=repository, env=environment, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        yield announced(home / f"jpserver-{server.pid}.json", server)
    finally:
        server.terminate()
        server.wait(timeout=60)


def announced(path: Path, server: subprocess.Popen, seconds: float = 60) -> dict:
    """What the server writes about itself when it listens."""
    deadline = time.monotonic() + seconds
    while server.poll() is None and time.monotonic() < deadline:
        if path.exists() and (text := path.read_text()).endswith("}"):
            return json.loads(text)
        time.sleep(0.1)
    raise RuntimeError(f"JupyterLab did not start: see {PICTURES / 'jupyterlab.log'}")


@pytest.fixture(scope="module")
def chromium():
    """Starts Chromium with these flags."""
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        names = ", ".join(BROWSERS)
        pytest.exit(
            f"none of {names} is installed (Debian: apt-get install chromium)", returncode=1
        )
    with sync_playwright() as playwright:
        yield partial(playwright.chromium.launch, executable_path=program)


@pytest.fixture(scope="module")
def browser(chromium):
    return chromium(args=FLAGS)


@pytest.fixture
def page(browser, lab):
    """A fresh page; the kernel that it started ends with it."""
    page = browser.new_page(viewport={"width": WIDTH, "height": 900})
    page.set_default_timeout(MINUTE)
    yield page
    access = {"Authorization": f"token {lab['token']}"}
    for kernel in page.request.get(f"{lab['url']}api/kernels", headers=access).json():
        page.request.delete(f"{lab['url']}api/kernels/{kernel['id']}", headers=access)
    page.close()


def run_all(page, lab: dict, name: str) -> list[dict]:
    """Opens a notebook and runs it from the menu; what each code cell then shows.

    A picture of the whole notebook is taken in any case: it tells why nothing went on.
    """
    try:
        page.goto(f"{lab['url']}lab/tree/notebooks/{name}.ipynb?reset&token={lab['token']}")
        # of the status bar: the notebook's own sign says idle before there is a kernel
        page.get_by_text("| Idle").wait_for()
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        page.wait_for_function(FINISHED, timeout=5 * MINUTE)
    finally:
        height = page.evaluate("document.querySelector('.jp-WindowedPanel-outer')?.scrollHeight")
        page.set_viewport_size({"width": WIDTH, "height": (height or 800) + 150})
        page.screenshot(path=PICTURES / f"{name}.png")
    return page.locator(".jp-CodeCell").evaluate_all(READ_CELLS)


def check(name: str, cells: list[dict]) -> None:
    """Every cell has run and none complains; there is a figure."""
    for number, cell in enumerate(cells, start=1):
        where = f"{name}.ipynb, code cell {number}"
        assert not cell["errors"], f"{where}: {cell['errors'][0]}"
        assert cell["prompt"] == f"[{number}]:", f"{where} did not run"
    assert any(cell["figures"] for cell in cells), f"{name}.ipynb shows no figure"


FIRST = ("00_quickstart", "08_table1")  # the others run in the long campaign


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(path.stem, marks=[] if path.stem in FIRST else pytest.mark.long)
        for path in sorted(NOTEBOOKS.glob("*.ipynb"))
    ],
)
def test_runs_in_jupyterlab(page, lab, name):
    check(name, run_all(page, lab, name))
    if "viewer.Turnable" in (NOTEBOOKS / f"{name}.ipynb").read_text():
        page.locator("[data-crystals]").scroll_into_view_if_needed()
        page.locator("[data-crystals] img").wait_for(state="hidden")
        for canvas in page.locator("[data-crystals] canvas").all():
            assert colours(canvas) > DRAWN


@pytest.mark.parametrize(
    ("code", "complaint"),
    [
        ("1 / 0", "code cell 2: .*ZeroDivisionError"),
        ("import sys; print('Traceback', file=sys.stderr)", "code cell 2: Traceback"),
        ("", "code cell 2 did not run"),
        ("1 + 1", "shows no figure"),
    ],
)
def test_the_check_sees_what_is_wrong(page, lab, repository, code, complaint):
    cells = [nbformat.v4.new_code_cell(source) for source in ("1 + 1", code, "2 + 2")]
    kernel = {"name": "python3", "display_name": "Python 3"}
    notebook = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
    nbformat.write(notebook, repository / "notebooks/negative_control.ipynb")
    with pytest.raises(AssertionError, match=f"(?s)negative_control.ipynb.*{complaint}"):
        check("negative_control", run_all(page, lab, "negative_control"))


def colours(canvas) -> int:
    """How many colours a reader sees there."""
    with Image.open(BytesIO(canvas.screenshot())) as picture:
        return len(picture.convert("RGB").getcolors(picture.width * picture.height))


@pytest.fixture(scope="module")
def crystals(tmp_path_factory) -> str:
    """Address of a page with two crystals, and with two scripts, as a notebook has one with each output."""
    salt, metal = (
        Structure.from_spacegroup("Fm-3m", Lattice.cubic(a), *sites)
        for a, *sites in (
            (5.7, ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]),
            (3.6, ["Cu"], [[0, 0, 0]]),
        )
    )
    places = [viewer.place(plots.crystal(s), [(plots.name(s), s)]) for s in (salt, metal)]
    path = tmp_path_factory.mktemp("crystals") / "index.html"
    path.write_text("<!doctype html><meta charset='utf-8'>" + "".join(places) + 2 * viewer.script())
    return path.as_uri()


def test_crystals_turn_without_a_network(browser, crystals):
    page = browser.new_context(offline=True).new_page()
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(crystals)
    assert [url for url in asked if not url.startswith("data:")] == [crystals]
    page.wait_for_function("[...document.images].every(picture => picture.hidden)")
    salt, metal = page.locator("canvas").all()
    before = salt.screenshot()
    assert min(colours(salt), colours(metal)) > DRAWN
    salt.hover()
    page.mouse.down()
    page.mouse.move(200, 30, steps=5)
    page.mouse.up()
    assert salt.screenshot() != before
    page.evaluate("document.querySelector('canvas').replaceWith(document.createElement('canvas'))")
    assert colours(page.locator("canvas").first) < DRAWN  # the check sees a blank one


@pytest.mark.parametrize("without", ["scripts", "WebGL"])
def test_a_picture_stands_where_crystals_cannot_turn(chromium, crystals, without):
    browser = chromium(args=[*FLAGS, "--disable-3d-apis"] if without == "WebGL" else FLAGS)
    page = browser.new_page(java_script_enabled=without != "scripts")
    page.goto(crystals)
    assert page.locator("canvas").count() == 0
    for picture in page.locator("img:visible").all():
        assert colours(picture) > DRAWN
    assert page.locator("img:visible").count() == 2
    browser.close()
