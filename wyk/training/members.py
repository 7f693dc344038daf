"""Training of a model (paper, §3.3): its members, side by side or not, and what they teach one another."""

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from lightning_fabric import Fabric
from lightning_fabric.strategies import DDPStrategy

from wyk.common import weights
from wyk.crystals import VOCABULARY, from_table, read_representations, write_representations
from wyk.model import Ensemble, WyckoffTransformer, checkpoint, encode
from wyk.plumbing import as_done, params, paths
from wyk.training import distillation
from wyk.training.calibration import calibrate
from wyk.training.fitting import fit, of_data

SPLITS, TEACHER = ("train", "val"), "teacher"


def train(name: str, jobs: int = 1, devices: int = 1) -> None:
    """Train the model of an experiment of params.yaml on its representations, or go on where a run stopped.

    Writes `model.safetensors`, `config.json` and `log.csv` to runs/<name>/train.

    Args:
        name: of the experiment.
        jobs: members trained side by side; the result does not depend on it.
        devices: processes (on CPUs) or GPUs that share each batch of a member.

    Raises:
        FileNotFoundError: if the representations are not there.
        BlockingIOError: if another run is training it.
        ValueError: if there is no such experiment, nothing to train on, or the loss becomes NaN.
    """
    params.experiment(name)
    with paths.alone(paths.run(name, "train")):
        _train(name, jobs, devices)


def _train(name: str, jobs: int, devices: int) -> None:
    """`train`, alone in its folder."""
    settings, seed = params.experiment(name).train, params.load().seed
    folder = paths.run(name, "train")
    known = pd.concat(_splits(name).values())
    members = _side_by_side("member", name, settings.members, jobs, devices)
    final = members
    if settings.distil:
        teacher = folder / TEACHER
        weights.save(teacher, *_together(members))
        digest = hashlib.sha256((teacher / weights.WEIGHTS).read_bytes()).hexdigest()
        drawn = settings.distil.samples
        taught = teacher / f"{digest[:12]}-{drawn}.parquet"  # of this teacher: no other one's
        if not taught.is_file():
            lessons = distillation.lessons(teacher, known, drawn, seed, jobs)
            with paths.writing(taught) as temporary:
                write_representations(temporary, lessons)
        final = _side_by_side("pupil", name, settings.distil.members, jobs, devices, taught)
    models, config = _together(final)
    model = Ensemble(models)
    model.config = config
    if model.settings.presence == "kinds":
        calibrate(model, known["elements"], seed)
    weights.save(folder, models, config)
    logs = [pd.read_csv(f / "log.csv").assign(member=i) for i, f in enumerate(members)]
    with paths.writing(folder / "log.csv") as temporary:
        pd.concat(logs).to_csv(temporary, index=False)
    for part in {*members, *final, folder / TEACHER}:
        shutil.rmtree(part, ignore_errors=True)


def _splits(name: str) -> dict[str, pd.DataFrame]:
    folder = paths.run(name, "represent")
    return {split: read_representations(folder / f"{split}.parquet") for split in SPLITS}


def _together(folders: Sequence[Path]) -> tuple[list[WyckoffTransformer], dict]:
    """Models that are to predict as one, and what config.json says of them."""
    models = [checkpoint.load(folder) for folder in folders]
    config = dict(models[0].config)
    for key in ("seed", "val_nll", "epoch"):
        config[key] = [model.config[key] for model in models]
    return models, config


def _side_by_side(
    kind: str, name: str, count: int, jobs: int, devices: int, lessons: Path | None = None
) -> list[Path]:
    """Train some models that differ in their seed, and return their folders."""
    folders = [paths.run(name, "train") / f"{kind}-{i}" for i in range(count)]
    tasks = {i: (folder, name, i, devices, lessons) for i, folder in enumerate(folders)}
    if jobs > 1 and count > 1:
        for i, _, reason in as_done(_launch, tasks, jobs):
            if reason:
                raise ValueError(f"experiment {name}, {kind} {i}: {reason}")
    else:
        for arguments in tasks.values():
            _launch(*arguments)
    return folders


def _launch(folder: Path, name: str, member: int, devices: int, lessons: Path | None) -> None:
    """Train one member on one device or several."""
    if devices == 1:
        _train_member(Fabric(devices=1), folder, name, member, lessons)
        return
    one_part = params.experiment(name).train.targets == "one"  # the other heads get no gradient
    strategy = DDPStrategy(start_method="spawn", find_unused_parameters=one_part)
    Fabric(devices=devices, strategy=strategy).launch(_train_member, folder, name, member, lessons)


def _train_member(
    fabric: Fabric, folder: Path, name: str, member: int, lessons: Path | None
) -> None:
    """Train one member from the beginning, or with lessons from where it stands."""
    seed, experiment = params.load().seed, params.experiment(name)
    sets = {split: from_table(table) for split, table in _splits(name).items()}
    for split, representations in sets.items():
        if not representations:
            raise ValueError(f"experiment {name}: its {split} set is empty")
    everything = sets["train"] + sets["val"]
    config = {
        "experiment": name,
        "data": experiment.data.model_dump(),
        "structures": {split: len(rows) for split, rows in sets.items()},
        "seed": seed + member,
    } | of_data(everything)
    refit, distil = experiment.train.refit, experiment.train.distil
    real = everything if refit else sets["train"]
    rows, start = real, None
    if lessons:
        rows = real + from_table(read_representations(lessons))
        start = checkpoint.load(folder.with_name(f"member-{member}")).state_dict()
        experiment = experiment.changed(
            {"model.dropout": 0.0, "train.epochs": distil.epochs, "train.lr": distil.lr}
        )
    fit(
        fabric,
        experiment,
        encode(rows, VOCABULARY, variants=len(real)),
        None if refit else encode(sets["val"], VOCABULARY),
        folder,
        config,
        real=len(real),
        start=start,
    )
