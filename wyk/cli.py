"""The ``wyk`` command: reads arguments, calls one function, says in a sentence what came of it."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="Crystals as sets of Wyckoff positions: represent, train, sample, relax, evaluate.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

SOURCES = (
    "a .cif; a folder or zip of CIFs; a CSV(.gz) with a `cif` or `structure` column; "
    "a Parquet file of wyk; or the name of a data set, such as mp_20_biternary:test"
)


def _groups(text: str | None) -> list[int] | None:
    """``225,227`` as space-group numbers."""
    if text is None:
        return None
    numbers = [int(part) if part.strip().isdecimal() else 0 for part in text.split(",")]
    for part, number in zip(text.split(","), numbers, strict=True):
        if not 1 <= number <= 230:
            raise typer.BadParameter(f"{part.strip()!r} is no space-group number from 1 to 230.")
    return numbers


def _elements(text: str | None) -> list[str] | None:
    """``Li,O,Fe`` as element symbols."""
    if text is None:
        return None
    from pymatgen.core import Element

    symbols = [part.strip() for part in text.split(",")]
    for symbol in symbols:
        if not Element.is_valid_symbol(symbol) or symbol in ("D", "T"):
            raise typer.BadParameter(f"{symbol!r} is no chemical element; write e.g. Li,O,Fe.")
    return symbols


Jobs = Annotated[int, typer.Option(min=1, help="Processes; the result does not depend on it.")]
Seed = Annotated[int, typer.Option(min=0, help="The same seed gives the same result.")]
ModelDir = Annotated[Path, typer.Option("--model", help="Folder of a trained model.")]
Out = Annotated[Path, typer.Option("--out", "-o", help="File to write.")]
CORES = os.cpu_count() or 1


@app.command()
def represent(
    source: Annotated[str, typer.Argument(metavar="INPUT", help=f"Structures: {SOURCES}.")],
    out: Out,
    jobs: Jobs = CORES,
) -> None:
    """Structures to Wyckoff representations (Parquet).

    What cannot be read goes, with its reason, to OUT.rejected.csv; the other rows are done.
    """
    from wyk import datasets

    summary = datasets.represent(source, out, jobs)
    typer.echo(f"{out}: {summary.n} representations, {summary.rejected} rejected")


@app.command()
def train(
    experiment: Annotated[str, typer.Option(help="An experiment of params.yaml.")],
) -> None:
    """Train an experiment's model on its representations; resumes what was interrupted."""
    from wyk import params

    params.experiment(experiment)  # an unknown one is found before torch is loaded
    from wyk import training

    training.train(experiment)


@app.command()
def sample(
    model: ModelDir,
    n: Annotated[int, typer.Option("-n", min=1, help="How many representations.")],
    out: Out,
    space_group: Annotated[
        str | None,
        typer.Option(
            callback=_groups,
            metavar="NUMBERS",
            help="Only these groups, e.g. 225,227 [default: as often as in train and val].",
        ),
    ] = None,
    elements: Annotated[
        str | None,
        typer.Option(callback=_elements, metavar="SYMBOLS", help="Only of these, e.g. Li,O,Fe."),
    ] = None,
    require: Annotated[
        str | None,
        typer.Option(callback=_elements, metavar="SYMBOLS", help="All of these, e.g. Li."),
    ] = None,
    max_atoms: Annotated[
        int | None, typer.Option(min=1, help="Atoms in the primitive cell, at most.")
    ] = None,
    temperature: Annotated[float, typer.Option(help="Of the softmax; 1 is the model's own.")] = 1.0,
    seed: Seed = 0,
) -> None:
    """Sample new Wyckoff representations from a trained model."""
    if not 0 < temperature < float("inf"):
        raise typer.BadParameter("a positive number is needed.", param_hint="'--temperature'")
    if outside := sorted(set(require or ()) - set(elements or require or ())):
        raise typer.BadParameter(
            f"{', '.join(outside)} is not among --elements.", param_hint="'--require'"
        )
    from wyk import representation, sampling

    frame = sampling.sample(
        model,
        n,
        temperature=temperature,
        seed=seed,
        space_groups=space_group,
        elements=elements,
        required=require,
        max_atoms=max_atoms,
    )
    representation.write_representations(out, frame)
    typer.echo(f"{out}: {len(frame)} representations")


@app.command()
def likelihood(
    model: ModelDir,
    representations: Annotated[str, typer.Argument(help=f"Crystals: {SOURCES}.")],
    out: Out,
    permutations: Annotated[int, typer.Option(min=1, help="Random orders of the sites.")] = 20,
    n: Annotated[int | None, typer.Option("-n", min=1, help="Only the first so many.")] = None,
    seed: Seed = 0,
    jobs: Jobs = CORES,
) -> None:
    """Log-likelihood of crystals under a model, in nats, over random orders of their sites."""
    from wyk import datasets, paths
    from wyk import likelihood as likelihoods

    frame = datasets.load(representations, jobs)
    result = likelihoods.likelihood(model, frame.head(n or len(frame)), permutations, seed)
    with paths.writing(out) as temporary:
        result.to_parquet(temporary, index=False)
    typer.echo(f"{out}: {len(result)} likelihoods")


@app.command()
def structures(
    representations: Annotated[Path, typer.Argument(help="Parquet of representations.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="OUT_DIR", help="Folder to write.")],
    n: Annotated[int | None, typer.Option("-n", min=1, help="Only the first so many.")] = None,
    draws: Annotated[
        int, typer.Option(min=1, help="pyXtal draws of each; lowest energy wins.")
    ] = 1,
    time_limit: Annotated[
        float, typer.Option(min=1, help="Seconds for a draw and its relaxation.")
    ] = 300,
    seed: Seed = 0,
    jobs: Jobs = CORES,
) -> None:
    """Representations to crystals: pyXtal draws, relaxed with CHGNet; resumes what was interrupted."""
    from wyk import structures as crystals

    table = crystals.build(
        representations, out, n=n, draws=draws, jobs=jobs, seed=seed, time_limit=time_limit
    )
    typer.echo(f"{out}: {table['cif'].notna().sum()} crystals of {len(table)} representations")


@app.command()
def reference(
    crystals: Annotated[list[str], typer.Argument(help=f"One or more of: {SOURCES}.")],
    out: Out,
    jobs: Jobs = CORES,
) -> None:
    """CHGNet energies of reference crystals, for the convex hull (CSV.gz)."""
    from wyk import stability

    summary = stability.reference(crystals, out, jobs)
    typer.echo(f"{out}: {summary.n} energies, {summary.rejected} rejected")


@app.command()
def evaluate(
    samples: Annotated[str, typer.Argument(help=f"What to judge: {SOURCES}.")],
    reference: Annotated[str, typer.Option(help="Test set, which distances are measured to.")],
    out: Out,
    training: Annotated[
        list[str] | None,
        typer.Option(help="What is not novel; once each for train and val. Sets the floors, too."),
    ] = None,
    crystals: Annotated[
        Path | None, typer.Option(help="Folder that `wyk structures` made of the first samples.")
    ] = None,
    hull: Annotated[
        Path | None,
        typer.Option(help="Table of `wyk reference` for --crystals [default: the shipped one]."),
    ] = None,
    likelihoods: Annotated[
        Path | None, typer.Option(help="Folder of what `wyk likelihood` wrote, named by data set.")
    ] = None,
    seed: Seed = 0,
    jobs: Jobs = CORES,
) -> None:
    """Table 1 and Table 2 of the paper for any set of structures (JSON).

    Without --training nothing is said about novelty.
    """
    if hull and not crystals:
        raise typer.BadParameter("needs --crystals.", param_hint="'--hull'")
    from wyk import evaluation

    evaluation.evaluate(
        samples,
        reference,
        out,
        training=training or (),
        crystals=crystals,
        hull=hull,
        likelihoods=likelihoods,
        seed=seed,
        jobs=jobs,
    )
    typer.echo(f"{out}: metrics of {samples}")


def main() -> None:
    """Runs the command: exit code 1 and one sentence for bad data, 2 for bad usage, 130 for Ctrl-C."""
    try:
        app()
    except (ValueError, OSError) as error:
        typer.echo(f"wyk: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
