"""New crystals in one go: representations sampled, drawn, relaxed and judged, with a page to look at (paper, §3.4)."""

from base64 import b64encode
from collections.abc import Sequence
from importlib.resources import files
from io import BytesIO
from pathlib import Path
from urllib.parse import quote

import pandas as pd
from jinja2 import Template

from wyk import checkpoint, plots, sampling, structures
from wyk.paths import alone, writing
from wyk.representation import write_representations
from wyk.stability import Hull

TEMPLATE = "crystals.html.jinja"


def generate(
    model: str | Path,
    out: str | Path,
    n: int,
    draws: Sequence[int] = structures.DRAWS,
    hull: Hull | None = None,
    seed: int = 0,
    jobs: int = 1,
    **conditions,
) -> pd.DataFrame:
    """Writes new crystals of a model to a folder.

    Args:
        model: folder of a trained model.
        out: folder for `representations.parquet`, what `structures.build` writes, and `index.html`.
        n: how many representations are sampled.
        draws, hull, seed, jobs: as in `structures.build`.
        conditions: as `sampling.sample` takes them.

    Returns:
        The crystals table, lowest energy above the hull first; what did not become a crystal comes last.

    Raises:
        ValueError: if the conditions cannot be met.
        OSError: if there is no model, the folder cannot be written, or another run is working there.
    """
    out = Path(out)
    samples = sampling.sample(checkpoint.load(model), n, seed=seed, **conditions)
    path = out / "representations.parquet"
    with alone(out):
        write_representations(path, samples)
        crystals = structures.build(path, out, draws=draws, hull=hull, seed=seed, jobs=jobs)
        crystals = crystals.sort_values("e_above_hull", kind="stable", ignore_index=True)
        with writing(out / "index.html") as temporary:
            temporary.write_text(page(crystals), encoding="utf-8")
    return crystals


def listing(crystals: pd.DataFrame) -> pd.DataFrame:
    """A table of crystals to read: name, energies and file of each, or why there is none.

    Args:
        crystals: as `structures.build` gives them.
    """
    rows = []
    for row in crystals.itertuples():
        made = isinstance(row.cif, str)
        rows.append(
            {
                "crystal": plots.name(structures.read_cif(row.cif)) if made else "–",
                "asked for": row.space_group,
                "above hull, eV/atom": f"{row.e_above_hull:+.3f}" if made else "–",
                "hull": "knows the system" if row.hull_covered else "lacks the system",
                "energy, eV/atom": f"{row.energy_per_atom:.3f}" if made else "–",
                "CIF": f"cifs/{row.material_id}.cif" if made else row.reason,
            }
        )
    return pd.DataFrame(rows)


def page(crystals: pd.DataFrame) -> str:
    """The crystals as HTML that needs nothing beside it but the CIFs it links to: no server, no network."""
    cards = listing(crystals).to_dict("records")
    for card, row in zip(cards, crystals.itertuples(), strict=True):
        card["implausible"] = row.implausible
        card["link"] = quote(card["CIF"]) if isinstance(row.cif, str) else None
        card["picture"] = _picture(row.cif) if isinstance(row.cif, str) else None
    template = Template(files("wyk").joinpath(TEMPLATE).read_text("utf-8"), autoescape=True)
    return template.render(cards=cards)


def _picture(cif: str) -> str:
    """A drawing of the conventional cell, PNG in base64."""
    buffer = BytesIO()
    plots.crystal(structures.read_cif(cif)).savefig(buffer, dpi=120)
    return b64encode(buffer.getvalue()).decode()
