"""Fitting of one network (paper, §3.3): in one process or many, interrupted or not."""

import csv
import hashlib
import math
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from tqdm import tqdm

from wyk.common import weights
from wyk.crystals import VOCABULARY, WyckoffRepresentation, similar_elements
from wyk.model import Encoded, Prefixes, WyckoffTransformer, augment, prefixes, site_order
from wyk.plumbing import Experiment, Train, paths
from wyk.training.objective import PARTS, batches, loss, steps, validate


def of_data(representations: Sequence[WyckoffRepresentation]) -> dict:
    """What config.json says of the data: how many crystals have each group and element, and the most sites of any."""
    counts = Counter(r.space_group for r in representations)
    elements = Counter(element for r in representations for element in set(r.elements))
    return {
        "space_group_counts": {str(group): counts[group] for group in sorted(counts)},
        "element_counts": dict(sorted(elements.items())),
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
    real: int | None = None,
    start: dict[str, Tensor] | None = None,
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
        real: how many structures, from the first, are real: each of them comes once in an epoch, augmented. Of
            the others, which are lessons, an epoch has as many as leave the real ones their share. By default all.
        start: weights to begin with.

    Raises:
        ValueError: if the loss is not finite.
    """
    settings, seed = experiment.train, config["seed"]
    torch.set_num_threads(1)  # for matrices this small more are slower, and change the last bits
    torch.manual_seed(seed)
    model = WyckoffTransformer(experiment.model, VOCABULARY)
    if start:
        model.load_state_dict(start)
    optimizer = _optimizer(model, settings)
    chosen = [
        _rows(train_set, real, settings, 1_000_003 * seed + e) for e in range(settings.epochs)
    ]
    total = sum(steps(train_set.length[r], settings.batch, settings.targets) for r in chosen)
    scheduler = _scheduler(optimizer, settings, total)
    state = {"epoch": 0, "best": math.inf, "best_epoch": 0, "stopped": False, "log": []}
    identity = {
        "config": config,
        "model": experiment.model.model_dump(),
        "train": settings.model_dump(),
        "data_sha256": _digest(train_set, val_set),
    }
    if weights.resume(folder, identity, model, optimizer, scheduler, state):
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
        length = train_set.length[chosen[epoch]]
        for index, known, parts in batches(length, settings.batch, settings.targets):
            rows = chosen[epoch][index]
            faded = fade * (rows < (real or len(train_set)))  # lessons are as they are
            element, position = augment(
                train_set, rows, settings.variants * faded, settings.substitute * faded, neighbours
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
                "train_nll": total / len(length) if settings.targets == "all" else None,
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
                weights.save(folder, [model], config | said)
            _write_log(folder, state["log"])
            weights.save_state(folder, identity, model, optimizer, scheduler, state)


def _rows(data: Encoded, real: int | None, settings: Train, seed: int) -> Tensor:
    """The structures of an epoch: all real ones, and random lessons if there are any."""
    if real in (None, len(data)):
        return torch.arange(len(data))
    lessons = torch.randperm(len(data) - real, generator=torch.Generator().manual_seed(seed))
    return torch.cat(
        [torch.arange(real), real + lessons[: round(real * (1 / settings.distil.real - 1))]]
    )


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


def _scheduler(optimizer: torch.optim.Optimizer, settings: Train, total: int):
    if settings.schedule == "plateau":
        return torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=5)
    warmup = max(1, round(settings.warmup * total))

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
