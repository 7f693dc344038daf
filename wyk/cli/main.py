"""The ``wyk`` command: reads arguments, calls one function, says in a sentence what came of it."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from wyk.cli import experiments, options
from wyk.cli.options import CORES, SOURCES, Hull, Jobs, ModelDir, Out, Seed

LONGEST = 1000  # characters of an error

app = typer.Typer(
    help="Crystals as sets of Wyckoff positions: represent, train, sample, relax, evaluate.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command()
def represent(
    source: Annotated[str, typer.Argument(metavar="INPUT", help=f"Structures: {SOURCES}.")],
    out: Out,
    jobs: Jobs = CORES,
) -> None:
    """Structures to Wyckoff representations (Parquet).

    What cannot be read goes, with its reason, to OUT.rejected.csv; the other rows are done.
    """
    from wyk.files import datasets

    summary = datasets.represent(source, out, jobs)
    beside = f", {summary.left_out} files left out" if summary.left_out else ""
    typer.echo(f"{out}: {summary.n} representations, {summary.rejected} rejected{beside}")


@app.command()
def train(
    experiment: experiments.Experiment,
    jobs: Annotated[
        int, typer.Option(min=1, help="Members of an ensemble trained at once; same result.")
    ] = CORES,
    devices: Annotated[
        int, typer.Option(min=1, help="Processes, or GPUs, that share every batch.")
    ] = 1,
) -> None:
    """Train an experiment's model on its representations; resumes what was interrupted."""
    from wyk.plumbing import params

    params.experiment(experiment)  # an unknown one is found before torch is loaded
    from wyk import training

    training.train(experiment, jobs, devices)


@app.command()
@options.conditioned()
def sample(
    model: ModelDir,
    n: Annotated[int, typer.Option("-n", min=1, help="How many representations.")],
    out: Out,
    conditions: dict,
    complete: Annotated[
        str | None,
        typer.Option(
            metavar="INPUT",
            help=f"Representations to start from, one after the other, again and again: {SOURCES}.",
        ),
    ] = None,
    unconstrained: Annotated[
        bool,
        typer.Option(
            "--unconstrained",
            help="The paper's way: what is formally invalid can be drawn, and goes to OUT.rejected.csv.",
        ),
    ] = False,
    distinct: Annotated[bool, typer.Option("--distinct", help="No crystal twice.")] = False,
    temperature: Annotated[float, typer.Option(help="Of the softmax; 1 is the model's own.")] = 1.0,
    seed: Seed = 0,
) -> None:
    """Sample new Wyckoff representations from a trained model.

    Under conditions, samples are as the model's own samples that fulfil them.
    Example: wyk sample --model MODEL -n 1000 --chemical-system Li-Fe-O --atoms 5-20 -o samples.parquet
    """
    options.check_temperature(temperature, "'--temperature'")
    groups = conditions.get("space_groups")
    if unconstrained and (conditions.keys() - {"space_groups"} or complete):
        raise typer.BadParameter(
            "takes no other conditions than space groups.", param_hint="'--unconstrained'"
        )
    if complete and groups:
        raise typer.BadParameter(
            "what is to be completed has its space group: leave out --space-group and --crystal-system.",
            param_hint="'--complete'",
        )
    from wyk import sampling
    from wyk.crystals import write_samples
    from wyk.files import datasets
    from wyk.model import checkpoint

    given = None if complete is None else datasets.load(complete)
    trained = checkpoint.load(model)
    if unconstrained:
        frame, rejected = sampling.sample_unconstrained(trained, n, temperature, seed, groups)
        write_samples(out, frame, rejected)
        typer.echo(f"{out}: {len(frame)} of {n} samples ({len(frame) / n:.1%}) are formally valid")
        return
    try:
        frame = sampling.sample(
            trained,
            n,
            temperature=temperature,
            seed=seed,
            given=given,
            distinct=distinct,
            **conditions,
        )
    except sampling.GivenError as error:
        raise ValueError(f"{complete}: {error}") from error
    write_samples(out, frame)
    typer.echo(f"{out}: {len(frame)} representations")


@app.command()
@options.conditioned(atoms="1-20")
def generate(
    out: options.OutDir,
    conditions: dict,
    n: Annotated[
        int | None,
        typer.Option(
            "-n",
            min=1,
            help="How many crystals [default: 20; with --until-stable at most 50 for each stable one].",
        ),
    ] = None,
    until_stable: Annotated[
        int | None,
        typer.Option(min=1, metavar="K", help="Go on until so many different crystals are stable."),
    ] = None,
    model: ModelDir = Path("runs/biternary_7k/train"),
    draws: options.Draws = options.DRAWS,
    hull: Hull = None,
    seed: Seed = 0,
    jobs: Jobs = CORES,
) -> None:
    """New crystals in one go: sampled, relaxed, judged; CIFs, a table, and a page of pictures.

    No representation comes twice, and no crystal has elements that CHGNet does not know.
    Example: wyk generate -n 20 --chemical-system Li-Fe-O -o new
    """
    from wyk import stability
    from wyk.plots import of_crystals
    from wyk.tools import generation

    crystals = generation.generate(
        model,
        out,
        n or (20 if until_stable is None else 50 * until_stable),
        until_stable=until_stable,
        draws=draws,
        hull=stability.Hull.load(hull or stability.REFERENCE),
        seed=seed,
        jobs=jobs,
        **conditions,
    )
    typer.echo(of_crystals.listing(crystals).to_string(index=False))
    made, stable = crystals["cif"].notna().sum(), stability.stable(crystals)
    different = (stable & crystals["unique"]).sum()
    typer.echo(
        f"{out}: {made} crystals of {len(crystals)} representations, {different} different ones are stable; "
        f"open {out / 'index.html'}"
    )


@app.command()
def structures(
    representations: Annotated[Path, typer.Argument(help="Parquet of representations.")],
    out: options.OutDir,
    n: Annotated[int | None, typer.Option("-n", min=1, help="Only the first so many.")] = None,
    draws: options.Draws = options.DRAWS,
    start: options.Start = "pyxtal",
    diffusion: options.Diffusion = None,
    finish: Annotated[
        bool,
        typer.Option("--finish", help="Relax each crystal once more, without its symmetry."),
    ] = False,
    time_limit: Annotated[
        float, typer.Option(min=1, help="Seconds for all draws of one and their relaxation.")
    ] = 300,
    hull: Hull = None,
    no_hull: Annotated[
        bool, typer.Option("--no-hull", help="Leave energies above the hull to `wyk evaluate`.")
    ] = False,
    scheduler: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Dask scheduler whose workers do it, e.g. tcp://10.0.0.1:8786 [default: --jobs processes].",
        ),
    ] = None,
    seed: Seed = 0,
    jobs: Jobs = CORES,
) -> None:
    """Representations to crystals: drawn, and relaxed with CHGNet; resumes what was interrupted."""
    options.check_start(start, diffusion)
    if hull and no_hull:
        raise typer.BadParameter("leave out --hull.", param_hint="'--no-hull'")
    from wyk import structures as crystals

    table = crystals.build(
        representations,
        out,
        n=n,
        draws=draws,
        start=start,
        diffusion=diffusion,
        finish=finish,
        time_limit=time_limit,
        judge=None if no_hull else options.judge(hull),
        scheduler=scheduler,
        seed=seed,
        jobs=jobs,
    )
    typer.echo(f"{out}: {table['cif'].notna().sum()} crystals of {len(table)} representations")


@app.command()
def reference(
    crystals: Annotated[
        list[str],
        typer.Argument(
            help=f"One or more of: {SOURCES}; such a table, to extend it; `shipped` for the one that comes "
            "with wyk; mp:Li-Fe-O for what the Materials Project has of these elements (needs MP_API_KEY)."
        ),
    ],
    out: Out,
    jobs: Jobs = CORES,
) -> None:
    """CHGNet energies of reference crystals, for the convex hull (CSV.gz)."""
    from wyk.stability import reference_energies

    summary = reference_energies.reference(crystals, out, jobs)
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
    hull: Hull = None,
    likelihoods: Annotated[
        Path | None, typer.Option(help="Folder of what `wyk likelihood` wrote, named by data set.")
    ] = None,
    relax: Annotated[
        bool, typer.Option("--relax", help="Relax samples that are crystals with CHGNet first.")
    ] = False,
    judged: Annotated[
        Path | None,
        typer.Option(help="Parquet to write: each crystal, how stable, whether unique and novel."),
    ] = None,
    seed: Seed = 0,
    jobs: Jobs = CORES,
) -> None:
    """Table 1 and Table 2 of the paper for any set of structures (JSON).

    Samples that are crystals are judged as they stand: their novelty by structure, their stability by CHGNet
    energies. Without --training nothing is said about novelty.
    """
    if relax and crystals:
        raise typer.BadParameter("leave out --crystals: those are relaxed.", param_hint="'--relax'")
    from wyk.metrics import evaluation

    evaluation.evaluate(
        samples,
        reference,
        out,
        training=training or (),
        crystals=crystals,
        hull=hull,
        likelihoods=likelihoods,
        relax=relax,
        judged=judged,
        seed=seed,
        jobs=jobs,
    )
    typer.echo(f"{out}: metrics of {samples}")


@app.command()
def compare(
    sources: Annotated[
        list[str],
        typer.Argument(
            callback=options.named, metavar="[NAME=]SOURCE...", help=f"Up to four of: {SOURCES}."
        ),
    ],
    reference: Annotated[str, typer.Option(help="Test set, as in `wyk evaluate`.")],
    out: options.OutDir,
    training: Annotated[
        list[str] | None, typer.Option(help="What is not novel; once each for train and val.")
    ] = None,
    hull: Hull = None,
    relax: Annotated[
        bool, typer.Option("--relax", help="Relax what are crystals with CHGNet first.")
    ] = False,
    seed: Seed = 0,
    jobs: Jobs = CORES,
) -> None:
    """Table 1 for several sets of structures side by side, with their distributions drawn."""
    from wyk.plots import table1
    from wyk.tools import comparison

    named = dict(sources)
    table = comparison.compare(
        named, reference, out, training or (), hull, relax, seed=seed, jobs=jobs
    )
    typer.echo(table1.shown(table, "models").to_string())
    typer.echo(f"{out}: {', '.join(named)} compared")


for command in experiments.COMMANDS:
    app.command()(command)


def main() -> None:
    """Runs the command: exit code 1 and one sentence for bad data, 2 for bad usage, 130 for Ctrl-C."""
    try:
        app()
    except (ValueError, OSError) as error:
        sentence = " ".join(str(error).split())  # of libraries some have lines
        if len(sentence) > LONGEST:  # what it quotes is no name; where and why stand at its ends
            sentence = f"{sentence[: LONGEST // 2]} … {sentence[-LONGEST // 2 :]}"
        typer.echo(f"wyk: {sentence}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
