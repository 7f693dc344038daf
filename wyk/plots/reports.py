"""An executed notebook as a page for any browser: python -m wyk.plots.reports EXECUTED.ipynb PAGE.html"""

import sys
from pathlib import Path

import nbformat
from nbconvert import HTMLExporter

from wyk.plumbing import writing


def page(executed: str | Path) -> str:
    """The HTML of an executed notebook, the same for the same cells and outputs: no times, no random names."""
    executed = Path(executed)
    notebook = nbformat.read(executed, as_version=4)
    for i, cell in enumerate(notebook.cells):
        cell.id = f"cell-{i}"  # papermill names the cell of parameters at random
    resources = {"metadata": {"name": executed.stem}}
    return HTMLExporter().from_notebook_node(notebook, resources)[0]


def main() -> None:
    """Writes the page."""
    executed, out = sys.argv[1:]
    with writing(out) as temporary:
        temporary.write_text(page(executed), encoding="utf-8")


if __name__ == "__main__":
    main()
