"""Crystals to turn with the mouse (3Dmol.js), and a static picture in their place where scripts do not run.

Nothing is fetched when they are looked at: `3dmol/3Dmol-min.js` is that of the npm package 3dmol 2.5.5, BSD license.
"""

import json
from base64 import b64encode
from collections.abc import Iterable
from html import escape
from importlib.resources import files
from io import BytesIO

from matplotlib.figure import Figure
from pymatgen.core import Structure

from wyk.plots import base


class Turnable:
    """A figure of crystals that a notebook shows as the crystals themselves, where it can."""

    def __init__(self, figure: Figure, crystals: Iterable[tuple[str, Structure]]):
        """Takes what is shown.

        Args:
            figure: the static picture.
            crystals: title and crystal, of any cell.
        """
        self.figure, self.crystals = figure, list(crystals)

    def _repr_mimebundle_(self, **_) -> dict[str, str]:
        shown = place(self.figure, self.crystals) + script()
        return {"text/html": shown, "image/png": _png(self.figure)}


def place(figure: Figure, crystals: Iterable[tuple[str, Structure]]) -> str:
    """HTML of a static picture that `script`, somewhere after it on the page, replaces by crystals to turn."""
    cells = [_cell(title, structure) for title, structure in crystals]
    titles = escape("; ".join(cell["title"] for cell in cells))
    return (
        f'<div data-crystals="{escape(json.dumps(cells))}">'
        f'<img src="data:image/png;base64,{_png(figure)}" alt="{titles}" style="max-width: 100%"></div>'
    )


def script() -> str:
    """HTML that draws all crystals before it; one is enough for a page, more do no harm."""
    library, draw = (
        files("wyk.plots").joinpath("3dmol", name).read_text("utf-8")
        for name in ("3Dmol-min.js", "draw.js")
    )
    # hidden from the library: module loaders that the page may have, to which it would hand itself over
    wrapped = f"window.$3Dmol ?? (function (exports, module, define) {{{library}\n}}).call(window);"
    return f"<script>{wrapped}\n{{{draw}}}</script>"  # in a block: its constants are its own


def _cell(title: str, structure: Structure) -> dict:
    """The conventional cell as `draw.js` takes it; Å."""
    cell, atoms = base.conventional(structure)
    lines = [
        f"{s} {x:.4f} {y:.4f} {z:.4f}"
        for s, (x, y, z) in zip(atoms.symbols, atoms.positions, strict=True)
    ]
    a, b, c = cell.lattice.abc
    return {
        "title": f"{title}: a, b, c = {a:.2f}, {b:.2f}, {c:.2f} Å",
        "xyz": "\n".join([str(len(atoms)), "", *lines]),
        "columns": cell.lattice.matrix.T.ravel().round(4).tolist(),
        "colours": base.colours(cell),
    }


def _png(figure: Figure) -> str:
    """A figure as PNG in base64."""
    buffer = BytesIO()
    figure.savefig(buffer, dpi=120, metadata={"Software": None})
    return b64encode(buffer.getvalue()).decode()
