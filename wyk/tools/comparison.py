"""Several generators side by side: the rows of Table 1 for each, and their distributions (paper, Appendix C)."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pandas as pd

from wyk import plots
from wyk.crystals import from_table
from wyk.files import datasets
from wyk.metrics import TEST, evaluation
from wyk.plots import of_crystals, table1
from wyk.plumbing import writing
from wyk.studies import summaries


def compare(
    sources: dict[str, str],
    reference: str,
    out: str | Path,
    training: Sequence[str] = (),
    hull: str | Path | None = None,
    relax: bool = False,
    seed: int = 0,
    jobs: int = 1,
) -> pd.DataFrame:
    """Judges each source as `evaluation.evaluate` does, and puts the results beside one another.

    Writes to the folder `out`: `NAME.json` of each source, and `NAME.parquet` of its crystals one by one;
    `table.md` and `table.csv`; `properties` and, where two sources are crystals, `stability` as PNG and SVG.

    Args:
        sources: name → anything `datasets.load` takes; four at most, more could not be told apart in a figure.
        out: folder.
        reference, training, hull, relax, seed, jobs: as in `evaluation.evaluate`.

    Returns:
        The cells of the table, as `table1.as_table` gives them.

    Raises:
        ValueError, OSError: naming the file that cannot be read or written.
    """
    out = Path(out)
    read = cache(datasets.read)  # each file once, for metrics and distributions of all
    cells, judged, sets = [], {}, {}
    for name, source in sources.items():
        crystals = out / f"{name}.parquet"
        metrics = evaluation.evaluate(
            source, reference, out / f"{name}.json", training, hull=hull, relax=relax,
            judged=crystals, seed=seed, jobs=jobs, read=read,
        )  # fmt: skip
        cells += table1.measured("models", name, metrics["raw"])
        cells += table1.measured("models", f"{name}, crystals", metrics.get("relaxed", {}))
        sets[name] = from_table(datasets.known(source, jobs, read))
        if "relaxed" in metrics:
            judged[name] = pd.read_parquet(crystals)
    sets[TEST] = from_table(datasets.known(reference, jobs, read))
    table = table1.as_table(cells)
    titles = table1.distances(table, {name: name for name in sources})
    figures = {"properties": plots.properties(summaries.properties(sets), titles)}
    if training and judged:
        figures["stability"] = of_crystals.stability(of_crystals.stability_table(judged))
    for name, figure in figures.items():
        plots.write(figure, out / name, "wyk compare")
    texts = {"table.csv": table.to_csv(index=False), "table.md": table1.markdown(table)}
    for name, text in texts.items():
        with writing(out / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return table
