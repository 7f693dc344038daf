"""Commands that the experiments of the paper need: likelihoods, comparisons, tables of what may be published."""

from pathlib import Path
from typing import Annotated

import typer

from wyk.cli import options
from wyk.cli.options import CORES, SOURCES, Jobs, ModelDir, Out, Seed

Experiment = Annotated[str, typer.Option(help="An experiment of params.yaml.")]


def likelihood(
    model: ModelDir,
    representations: Annotated[str, typer.Argument(help=f"Crystals: {SOURCES}.")],
    out: Out,
    permutations: Annotated[int, typer.Option(min=1, help="Random orders of the sites.")] = 20,
    n: Annotated[int | None, typer.Option("-n", min=1, help="Only the first so many.")] = None,
    temperature: Annotated[float, typer.Option(help="Of the softmax, as in `wyk sample`.")] = 1.0,
    unconstrained: Annotated[
        bool,
        typer.Option(
            "--unconstrained", help="Do not tell the model which positions are impossible."
        ),
    ] = False,
    seed: Seed = 0,
    jobs: Jobs = CORES,
) -> None:
    """Log-likelihood of crystals under a model, in nats, over random orders of their sites."""
    options.check_temperature(temperature, "'--temperature'")
    from wyk import likelihood as likelihoods
    from wyk.files import datasets
    from wyk.model import checkpoint
    from wyk.plumbing import paths

    frame = datasets.load(representations, jobs)
    result = likelihoods.likelihood(
        checkpoint.load(model),
        frame.head(n or len(frame)),
        permutations,
        seed,
        formal_masks=not unconstrained,
        temperature=temperature,
    )
    with paths.writing(out) as temporary:
        result.to_parquet(temporary, index=False)
    typer.echo(f"{out}: {len(result)} likelihoods")


def diffusion(experiment: Experiment, jobs: Jobs = CORES) -> None:
    """Train the diffusion of coordinates and cells on an experiment's crystals; resumes what was interrupted."""
    from wyk.plumbing import params

    params.experiment(experiment)  # an unknown one is found before torch is loaded
    from wyk.coordinates import diffusion_training

    diffusion_training.train(experiment, jobs)


def trials(
    experiment: Experiment,
    jobs: Jobs = CORES,
) -> None:
    """Train with changed settings, as params.yaml lists them, and compare; resumes what was interrupted."""
    from wyk.plumbing import params

    params.experiment(experiment)  # an unknown one is found before torch is loaded
    from wyk.studies import trials as comparisons

    typer.echo(f"{comparisons.run(experiment, jobs)}: the trials of {experiment}")


def sweep(
    model: ModelDir,
    temperatures: Annotated[
        str, typer.Option(callback=options.temperatures, metavar="NUMBERS", help="E.g. 0.01,1,100.")
    ],
    n: Annotated[int, typer.Option("-n", min=1, help="Samples at each temperature.")],
    reference: Annotated[str, typer.Option(help="Test set, as in `wyk evaluate`.")],
    training: Annotated[
        list[str], typer.Option(help="What is not novel; once each for train and val.")
    ],
    out: Out,
    seed: Seed = 0,
    jobs: Jobs = CORES,
) -> None:
    """What becomes of samples when the temperature changes (CSV): with formal masks, and without."""
    import pandas as pd

    from wyk.files import datasets
    from wyk.model import checkpoint
    from wyk.plumbing import paths
    from wyk.studies import temperature as sweeps

    test = datasets.known(reference, jobs)
    known = pd.concat([datasets.known(source, jobs) for source in training])
    table = sweeps.sweep(checkpoint.load(model), temperatures, n, test, known, seed)
    with paths.writing(out) as temporary:
        table.to_csv(temporary, index=False)
    typer.echo(f"{out}: {len(temperatures)} temperatures")


def recovery(
    crystals: Annotated[str, typer.Argument(help=f"Real crystals: {SOURCES}.")],
    n: Annotated[int, typer.Option("-n", min=1, help="How many of them, chosen at random.")],
    out: Out,
    draws: Annotated[int, typer.Option(min=1, help="pyXtal draws of each.")] = 10,
    seed: Seed = 0,
    jobs: Jobs = CORES,
) -> None:
    """Whether random draws find real crystals again, from their representations alone (Parquet)."""
    from wyk.plumbing import paths
    from wyk.studies import recovery as recoveries

    table = recoveries.recover(crystals, n, draws, seed, jobs)
    with paths.writing(out) as temporary:
        table.to_parquet(temporary, index=False)
    share = recoveries.found(table)[:, -1].mean()
    typer.echo(f"{out}: {share:.1%} of {len(table)} crystals found by {draws} draws")


def conditional(experiment: Experiment, jobs: Jobs = CORES) -> None:
    """Crystals under the conditions of an experiment beside free samples that fulfil them (CSV)."""
    from wyk.studies import conditional as conditionals

    table = conditionals.run(experiment, jobs)
    n = table.groupby(["condition", "samples"])["n"].max().sum()
    typer.echo(f"{experiment}: {n} crystals, asked for and filtered")


def match(
    crystals: Annotated[str, typer.Argument(help=f"Real crystals: {SOURCES}.")],
    diffusion: Annotated[Path, typer.Option(help="Folder that `wyk diffusion` trained.")],
    n: Annotated[int, typer.Option("-n", min=1, help="How many of them, chosen at random.")],
    out: Out,
    draws: Annotated[int, typer.Option(min=1, help="Of each crystal from either start.")] = 3,
    seed: Seed = 0,
    jobs: Jobs = CORES,
) -> None:
    """How near to real crystals draws of pyXtal and of the diffusion are, and what they relax to (Parquet)."""
    from wyk.plumbing import paths
    from wyk.studies import matching

    table = matching.match(crystals, n, draws, diffusion, seed, jobs)
    with paths.writing(out) as temporary:
        table.to_parquet(temporary, index=False)
    typer.echo(f"{out}: {len(table)} starts of {table['material_id'].nunique()} crystals")


def baseline(
    name: Annotated[
        str,
        typer.Argument(
            help="random: random positions; substitution: known crystals with an element exchanged; "
            "wycryst: WyCryst, trained on them.",
        ),
    ],
    known: Annotated[
        list[str],
        typer.Option(help=f"What it starts from, once each for train and val: {SOURCES}."),
    ],
    n: Annotated[int, typer.Option("-n", min=1, help="How many representations.")],
    out: Out,
    epochs: Annotated[int, typer.Option(min=1, help="Of training, where there is any.")] = 48,
    seed: Seed = 0,
    jobs: Jobs = CORES,
) -> None:
    """Representations to compare a model's with (Parquet); formally invalid ones go to OUT.rejected.csv."""
    import pandas as pd

    from wyk.baselines import BASELINES
    from wyk.crystals import from_table, to_table, write_samples
    from wyk.files import datasets

    kinds = {kind: found for kind, found in BASELINES.items() if found.generate}
    if name not in kinds:
        raise typer.BadParameter(f"{name!r}: write {', '.join(kinds)}.", param_hint="'NAME'")
    crystals = from_table(pd.concat([datasets.known(source, jobs) for source in known]))
    try:
        if kinds[name].trained:
            made, about = kinds[name].generate(crystals, n, seed, epochs)
        else:
            made, about = kinds[name].generate(crystals, n, seed), {}
    except ValueError as error:
        raise ValueError(f"{', '.join(known)}: {error}") from error
    table = to_table(made, reason=[r.invalidity() for r in made])
    table.attrs = about  # goes into the Parquet, and from there into metrics
    valid = table["reason"].isna()
    write_samples(out, table[valid].drop(columns="reason"), table[~valid])
    typer.echo(f"{out}: {valid.sum()} of {n} representations are formally valid")


def diffcsp(experiment: Experiment, jobs: Jobs = CORES) -> None:
    """Train DiffCSP without symmetry on an experiment's crystals, and generate some; resumes what was interrupted."""
    from wyk.plumbing import params

    params.experiment(experiment)  # an unknown one is found before torch is loaded
    from wyk.baselines import diffcsp

    table = diffcsp.run(experiment, jobs)
    typer.echo(f"{experiment}: {table['cif'].notna().sum()} of {len(table)} crystals of DiffCSP")


def summarise(experiment: Experiment, seed: Seed = 0) -> None:
    """Counts and means of an experiment's data and results, for its figures (CSV)."""
    from wyk.plumbing import params

    params.experiment(experiment)
    from wyk.studies import summaries

    typer.echo(f"{summaries.write(experiment, seed)}: summaries of {experiment}")


COMMANDS = (
    likelihood, diffusion, trials, sweep, recovery, conditional, match, baseline, diffcsp, summarise
)  # fmt: skip
