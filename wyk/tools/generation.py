"""New crystals in one go: representations sampled, drawn, relaxed and judged, with a page to look at (paper, §3.4)."""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from importlib.resources import files
from pathlib import Path
from urllib.parse import quote

import pandas as pd
from jinja2 import Template

from wyk import plots, relaxation, sampling, stability, structures
from wyk.crystals import read_cif, write_representations
from wyk.files import datasets
from wyk.metrics import novelty
from wyk.model import Ensemble, WyckoffTransformer, checkpoint
from wyk.plots import of_crystals, viewer
from wyk.plumbing import alone, writing
from wyk.sampling import Conditions

TEMPLATE = "crystals.html.jinja"
FREE = 1000  # free samples that tell how many elements a model knows to combine
SELDOM = 0.005


def generate(
    model: str | Path,
    out: str | Path,
    n: int,
    until_stable: int | None = None,
    draws: Sequence[int] = structures.DRAWS,
    hull: stability.Hull | None = None,
    seed: int = 0,
    jobs: int = 1,
    **conditions,
) -> pd.DataFrame:
    """Writes new crystals of a model to a folder.

    Args:
        model: folder of a trained model.
        out: folder for `representations.parquet`, what `structures.build` writes, and `index.html`.
        n: how many representations are sampled, no two alike; fewer where there are not so many.
        until_stable: after so many different stable crystals no more are made; n is the most that are tried.
        hull: that crystals are judged by; the shipped one if None.
        draws, seed, jobs: as in `structures.build`.
        conditions: as `sampling.sample` takes them. Elements are those that CHGNet and the model's training data
            know, unless `elements` says less.

    Returns:
        The crystals table, lowest energy above the hull first; what did not become a crystal comes last. To the columns
        of `structures.build` come those of `stability.judged`, `compared` and `plots_crystals.named`.

    Raises:
        ValueError: if the conditions cannot be met.
        OSError: if there is no model, the folder cannot be written, or another run is working there.
    """
    out = Path(out)
    trained = checkpoint.load(model)
    known = offered(trained)
    for name in ("elements", "required"):
        if unknown := sorted(set(conditions.get(name) or ()) - set(known)):
            raise ValueError(
                f"{', '.join(unknown)}: not among the elements of CHGNet and of the training data"
            )
    conditions = {"elements": known} | conditions
    if warning := rare(trained, conditions):
        logging.getLogger(__name__).warning(warning)
    samples = sampling.sample(trained, n, seed=seed, distinct=True, **conditions)
    path = out / "representations.parquet"
    with alone(out):
        write_representations(path, samples)
        crystals = structures.build(
            path,
            out,
            draws=draws,
            seed=seed,
            jobs=jobs,
            judge=partial(stability.judged, hull=hull or stability.Hull.load()),
            enough=until_stable and different_stable(until_stable),
        )
        crystals = crystals.sort_values("e_above_hull", kind="stable", ignore_index=True)
        data = trained.config.get("data", {})
        crystals = compared(crystals, [data[split] for split in ("train", "val") if split in data])
        crystals = of_crystals.named(crystals)
        with writing(out / "index.html") as temporary:
            temporary.write_text(page(crystals), encoding="utf-8")
    return crystals


def different_stable(n: int) -> Callable[[pd.DataFrame], bool]:
    """For `structures.build`: says when n of the crystals that it was given are stable and differ from one another."""
    found = []

    def enough(row: pd.DataFrame) -> bool:
        if stability.stable(row).item():
            crystal = read_cif(row["cif"].item())
            if novelty.unique([*found, crystal])[-1]:
                found.append(crystal)
        return len(found) >= n

    return enough


def offered(model: WyckoffTransformer | Ensemble) -> list[str]:
    """The elements that CHGNet knows and the model has seen, as far as its config says which."""
    seen = model.config.get("element_counts", model.elements)
    return [symbol for symbol in model.elements if symbol in seen and symbol in relaxation.KNOWN]


def rare(model: WyckoffTransformer | Ensemble, conditions: Mapping) -> str | None:
    """A warning if crystals of so many elements as the conditions ask for hardly occur among free samples."""
    asked = Conditions.of(
        model, **{k: v for k, v in conditions.items() if k != "space_groups"}
    ).fewest
    if asked < 3:
        return None
    free = sampling.sample(model, FREE)["elements"]
    share = sum(len(set(sites)) >= asked for sites in free) / FREE
    if share >= SELDOM:
        return None
    return (
        f"{asked} elements are asked for; of {FREE:,} free samples of this model {share:.1%} have as many. "
        "It has hardly seen any such crystal, so these are guesses"
    )


def compared(crystals: pd.DataFrame, training: Sequence[str]) -> pd.DataFrame:
    """The crystals with columns that say which differ from those before them, `unique`, and from known ones, `novel`.

    Args:
        crystals: as `structures.build` gives them.
        training: data sets that are not novel. Third-party ones may not be there: then there is no column `novel`.
    """
    rows = crystals["cif"].notna()
    made = [read_cif(cif) for cif in crystals["cif"][rows]]
    crystals = crystals.copy()
    crystals.loc[rows, "unique"] = novelty.unique(made)
    formulas = {crystal.composition.reduced_formula for crystal in made}
    with suppress(FileNotFoundError):
        known = [s for source in training for _, s in datasets.structures(source, formulas)[0]]
        if training:
            crystals.loc[rows, "novel"] = novelty.novel(made, known)
    return crystals


def page(crystals: pd.DataFrame) -> str:
    """The crystals as HTML that needs nothing beside it but the CIFs it links to: no server, no network.

    Args:
        crystals: as `generate` returns them.
    """
    cards = of_crystals.listing(crystals).to_dict("records")
    for card, row in zip(cards, crystals.itertuples(), strict=True):
        card["implausible"] = row.implausible
        if isinstance(row.cif, str):
            crystal = read_cif(row.cif)
            card["link"] = f"cifs/{quote(card['CIF'])}"
            card["picture"] = viewer.place(plots.crystal(crystal), [(row.name, crystal)])
    template = Template(files("wyk.tools").joinpath(TEMPLATE).read_text("utf-8"), autoescape=True)
    return template.render(cards=cards, script=viewer.script())
