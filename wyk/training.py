"""Training of the model (paper, §3.3): one process or many, interrupted or not."""

import csv
import hashlib
import math
import shutil
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies import DDPStrategy
from torch import Tensor, nn
from tqdm import tqdm

from wyk import checkpoint, params, paths
from wyk.calibration import calibrate
from wyk.ensemble import Ensemble
from wyk.model import WyckoffTransformer
from wyk.objective import PARTS, batches, loss, steps, validate
from wyk.params import Experiment, Train
from wyk.pool import as_done
from wyk.representation import WyckoffRepresentation, from_table, read_representations
from wyk.tokenization import (
    VOCABULARY,
    Encoded,
    Prefixes,
    augment,
    encode,
    prefixes,
    similar_elements,
    site_order,
)

SPLITS = ("train", "val")


def train(name: str, jobs: int = 1, devices: int = 1) -> None:
    """Train the model of an experiment of params.yaml on its representations, or go on where a run stopped.

    Writes `model.safetensors`, `config.json` and `log.csv` to runs/<name>/train.

    Args:
        name: of the experiment.
        jobs: members trained side by side; the result does not depend on it.
        devices: processes (on CPUs) or GPUs that share each batch of a member.

    Raises:
        FileNotFoundError: if the representations are not there.
        ValueError: if there is no such experiment, nothing to train on, or the loss becomes NaN.
    """
    members = params.experiment(name).train.members
    folder = paths.run(name, "train")
    if jobs > 1 and members > 1:
        tasks = {member: (name, member, devices) for member in range(members)}
        for member, _, reason in as_done(_launch, tasks, jobs):
            if reason:
                raise ValueError(f"experiment {name}, member {member}: {reason}")
    else:
        for member in range(members):
            _launch(name, member, devices)
    folders = [_member_folder(name, member) for member in range(members)]
    models = [checkpoint.load(f) for f in folders]
    config = dict(models[0].config)
    for key in ("seed", "val_nll", "epoch"):
        config[key] = [model.config[key] for model in models]
    model = Ensemble(models)
    model.config = config
    if model.settings.presence == "kinds":
        known = [
            read_representations(paths.run(name, "represent") / f"{s}.parquet") for s in SPLITS
        ]
        calibrate(model, pd.concat(known)["elements"], config["seed"][0])
    checkpoint.save(folder, models, config)
    logs = [pd.read_csv(f / "log.csv").assign(member=i) for i, f in enumerate(folders)]
    with paths.writing(folder / "log.csv") as temporary:
        pd.concat(logs).to_csv(temporary, index=False)
    for member_folder in folders:
        shutil.rmtree(member_folder)


def _member_folder(name: str, member: int) -> Path:
    return paths.run(name, "train") / f"member-{member}"


def _launch(name: str, member: int, devices: int) -> None:
    """Train one member on one device or several."""
    if devices == 1:
        _train_member(Fabric(devices=1), name, member)
        return
    one_part = params.experiment(name).train.targets == "one"  # the other heads get no gradient
    strategy = DDPStrategy(start_method="spawn", find_unused_parameters=one_part)
    Fabric(devices=devices, strategy=strategy).launch(_train_member, name, member)


def _train_member(fabric: Fabric, name: str, member: int) -> None:
    seed, experiment = params.load().seed, params.experiment(name)
    sets = {
        split: from_table(read_representations(paths.run(name, "represent") / f"{split}.parquet"))
        for split in SPLITS
    }
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
    refit = experiment.train.refit
    fit(
        fabric,
        experiment,
        encode(everything if refit else sets["train"], VOCABULARY, variants=True),
        None if refit else encode(sets["val"], VOCABULARY),
        _member_folder(name, member),
        config,
    )


def of_data(representations: Sequence[WyckoffRepresentation]) -> dict:
    """What config.json says of the data and sampling goes by: counts of the groups, and the most sites of any."""
    counts = Counter(r.space_group for r in representations)
    return {
        "space_group_counts": {str(group): counts[group] for group in sorted(counts)},
        "most_sites": max(len(r.letters) for r in representations),
    }


class Objective(nn.Module):
    """The loss as a module, which is what Fabric spreads over processes."""

    def __init__(self, model: WyckoffTransformer):
        super().__init__()
        self.model = model

    def forward(self, batch: Prefixes, formal_masks: bool, parts: tuple[str, ...]) -> Tensor:
        return loss(self.model, batch, formal_masks, parts)


def fit(
    fabric: Fabric,
    experiment: Experiment,
    train_set: Encoded,
    val_set: Encoded | None,
    folder: Path,
    config: dict,
) -> None:
    """Train one model; the weights best on validation are kept, or the last ones if there is no validation.

    Every random number of an epoch follows from (seed, epoch), and the state is saved between epochs, so a
    resumed run ends with the same bytes as one that was never interrupted. Every process draws the same
    batches and takes its share, so that several processes learn what one would.

    Args:
        fabric: where it runs.
        experiment: its settings.
        train_set: with normalizer variants.
        val_set: for early stopping, the choice of weights and, with `schedule: plateau`, the learning rate.
        folder: where model, log and state go.
        config: what to say in config.json beside the architecture.

    Raises:
        ValueError: if the loss is not finite.
    """
    settings, seed = experiment.train, config["seed"]
    torch.set_num_threads(1)  # for matrices this small more are slower, and change the last bits
    torch.manual_seed(seed)
    model = WyckoffTransformer(experiment.model, VOCABULARY)
    optimizer = _optimizer(model, settings)
    scheduler = _scheduler(optimizer, settings, steps(train_set, settings.batch, settings.targets))
    state = {"epoch": 0, "best": math.inf, "best_epoch": 0, "stopped": False, "log": []}
    identity = {
        "config": config,
        "model": experiment.model.model_dump(),
        "train": settings.model_dump(),
        "data_sha256": _digest(train_set, val_set),
    }
    if checkpoint.resume(folder, identity, model, optimizer, scheduler, state):
        tqdm.write(f"{folder}: going on after epoch {state['epoch']}", file=sys.stderr)
    objective = fabric.setup(Objective(model))
    optimizer = fabric.setup_optimizers(optimizer)
    neighbours = similar_elements(VOCABULARY)

    progress = tqdm(
        range(state["epoch"], settings.epochs),
        initial=state["epoch"],
        total=settings.epochs,
        desc="train",
        unit="epoch",
        disable=None if fabric.global_rank == 0 else True,
        file=sys.stderr,
    )
    for epoch in progress:
        if state["stopped"]:
            break
        torch.manual_seed(1_000_003 * seed + epoch)
        objective.train()
        fade = max(0.0, 1 - epoch / (settings.augment_until * settings.epochs + 1e-9))
        total = 0.0
        for rows, known, parts in batches(train_set, settings.batch, settings.targets):
            element, position = augment(
                train_set, rows, settings.variants * fade, settings.substitute * fade, neighbours
            )
            order = site_order(element, position, settings.order)
            mine, share = slice(None), 1.0
            if len(rows) >= fabric.world_size:
                mine = slice(fabric.global_rank, None, fabric.world_size)
                share = len(rows[mine]) * fabric.world_size / len(rows)
            batch = prefixes(
                train_set.space_group[rows][mine],
                element[mine],
                position[mine],
                known[mine],
                order[mine],
            )
            one = settings.targets == "one" and parts != PARTS[:1]
            if one or settings.order == "canonical":
                batch = batch.next_only()
            value = objective(batch.to(fabric.device), settings.formal_masks, parts) * share
            optimizer.zero_grad()
            fabric.backward(value)
            fabric.clip_gradients(
                objective, optimizer, max_norm=settings.clip, error_if_nonfinite=False
            )
            optimizer.step()
            if settings.schedule == "cosine":
                scheduler.step()
            total += fabric.all_reduce(value.detach(), reduce_op="mean").item() * len(rows)
        if not math.isfinite(total):
            raise ValueError(
                f"the loss became {total} in epoch {epoch + 1}; the best model so far stays in {folder}. "
                "Lower train.lr."
            )
        state["epoch"] = epoch + 1
        last = state["epoch"] == settings.epochs
        if state["epoch"] % settings.evaluate_every and not last:
            continue
        objective.eval()
        nll = None if val_set is None else validate(model, val_set, settings, seed)
        if settings.schedule == "plateau":
            scheduler.step(nll)
        state["log"].append(
            {
                "epoch": state["epoch"],
                "lr": optimizer.param_groups[0]["lr"],
                "train_nll": total / len(train_set) if settings.targets == "all" else None,
                "val_nll": nll,
            }
        )
        progress.set_postfix(state["log"][-1])
        better = last if nll is None else nll < state["best"]
        if nll is not None and better:
            state["best"], state["best_epoch"] = nll, state["epoch"]
        state["stopped"] = bool(val_set) and epoch + 1 - state["best_epoch"] > settings.patience
        if fabric.global_rank == 0:
            if better:
                said = {"train": settings.model_dump(), "val_nll": nll, "epoch": state["epoch"]}
                checkpoint.save(folder, [model], config | said)
            _write_log(folder, state["log"])
            checkpoint.save_state(folder, identity, model, optimizer, scheduler, state)


def _digest(*sets: Encoded | None) -> str:
    digest = hashlib.sha256()
    for data in filter(None, sets):
        for tensor in vars(data).values():
            digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def _write_log(folder: Path, log: list[dict]) -> None:
    with paths.writing(folder / "log.csv") as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, log[0])
        writer.writeheader()
        writer.writerows(log)


def _optimizer(model: WyckoffTransformer, settings: Train) -> torch.optim.Optimizer:
    if settings.optimizer == "sgd":
        return torch.optim.SGD(model.parameters(), settings.lr, weight_decay=settings.weight_decay)
    return torch.optim.AdamW(
        model.parameters(),
        settings.lr,
        weight_decay=settings.weight_decay,
        betas=(0.9, 0.98),
        fused=True,
    )


def _scheduler(optimizer: torch.optim.Optimizer, settings: Train, steps: int):
    if settings.schedule == "plateau":
        return torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=5)
    total = steps * settings.epochs
    warmup = max(1, round(settings.warmup * total))

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
