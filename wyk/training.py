"""Training of the model (paper, §3.3): every prefix of every structure, all that may come next in each."""

import csv
import hashlib
import math
import sys
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from wyk import checkpoint, params, paths
from wyk.model import WyckoffTransformer
from wyk.params import Experiment, Train
from wyk.representation import from_table, read_representations
from wyk.tokenization import (
    VOCABULARY,
    Encoded,
    Prefixes,
    augment,
    encode,
    prefixes,
    similar_elements,
)

BUCKET = 16  # batches sorted together by prefix length, so that little of a batch is padding


def train(name: str) -> None:
    """Train the model of an experiment of params.yaml on its representations, or go on where a run stopped.

    Writes `model.safetensors`, `config.json` and `log.csv` to runs/<name>/train.

    Raises:
        FileNotFoundError: if the representations are not there.
        ValueError: if there is no such experiment, nothing to train on, or the loss becomes NaN.
    """
    seed, experiment = params.load().seed, params.experiment(name)
    sets = {
        split: from_table(read_representations(paths.run(name, "represent") / f"{split}.parquet"))
        for split in ("train", "val")
    }
    for split, representations in sets.items():
        if not representations:
            raise ValueError(f"experiment {name}: its {split} set is empty")
    everything = sets["train"] + sets["val"]
    counts = torch.bincount(torch.tensor([r.space_group for r in everything]), minlength=231)
    config = {
        "experiment": name,
        "data": experiment.data.model_dump(),
        "structures": {split: len(rows) for split, rows in sets.items()},
        "seed": seed,
        "space_group_counts": {str(g): int(counts[g]) for g in counts.nonzero().ravel().tolist()},
        "most_sites": max(len(r.letters) for r in everything),
    }
    fit(
        experiment,
        encode(sets["train"], VOCABULARY, variants=True),
        encode(sets["val"], VOCABULARY),
        paths.run(name, "train"),
        config,
    )


def loss(model: WyckoffTransformer, batch: Prefixes, formal_masks: bool = True) -> Tensor:
    """Mean over prefixes of the expected -log p of what comes next, nats.

    Summed over the prefixes of a structure this is the exact expectation, over the order of what remains, of
    -log p of each step of formula (2).
    """
    context = model.encode(batch.space_group, batch.elements, batch.positions)
    log_p = model.element_logits(context, formal_masks).log_softmax(-1)
    total = -log_p[batch.stop, -1].sum()
    total = total - (log_p[batch.row, batch.element] * batch.weight).sum()

    # sites of a prefix that ask the same question share one query
    symmetry = model.symmetry[batch.position]
    ask = batch.row * len(model.elements) + batch.element
    query, site = ask.unique(return_inverse=True)
    row, element = query // len(model.elements), query % len(model.elements)
    log_p = model.symmetry_logits(context, row, element, formal_masks).log_softmax(-1)
    total = total - (log_p[site, symmetry] * batch.weight).sum()

    ask = ask * model.lookup.shape[1] + symmetry
    query, site = ask.unique(return_inverse=True)
    symmetry, query = query % model.lookup.shape[1], query // model.lookup.shape[1]
    row, element = query // len(model.elements), query % len(model.elements)
    log_p = model.enumeration_logits(context, row, element, symmetry, formal_masks).log_softmax(-1)
    total = total - (log_p[site, model.enumeration[batch.position]] * batch.weight).sum()
    return total / len(batch.stop)


def pairs(data: Encoded) -> tuple[Tensor, Tensor]:
    """All (structure, known sites) pairs of a data set: every prefix length of every structure, 0 to all."""
    structure = torch.arange(len(data)).repeat_interleave(data.length + 1)
    first = (data.length + 1).cumsum(0) - data.length - 1
    return structure, torch.arange(len(structure)) - first[structure]


@torch.no_grad()
def validate(model: WyckoffTransformer, data: Encoded, seed: int, batch: int = 4096) -> float:
    """-log p per structure, nats, one random prefix of each length for each structure, the same in every call."""
    structure, known = pairs(data)
    by_length = known.argsort(stable=True)
    total = 0.0
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for chosen in by_length.split(batch):
            rows = structure[chosen]
            part = prefixes(
                data.space_group[rows], data.elements[rows], data.positions[rows], known[chosen]
            )
            total += loss(model, part).item() * len(chosen)
    return total / len(data)


def fit(
    experiment: Experiment,
    train_set: Encoded,
    val_set: Encoded,
    folder: Path,
    config: dict,
) -> WyckoffTransformer:
    """Train a model; the weights best on validation are kept.

    Every random number of an epoch follows from (seed, epoch), and the state is saved between epochs, so a
    resumed run ends with the same bytes as one that was never interrupted.

    Args:
        experiment: its settings.
        train_set: with normalizer variants.
        val_set: for early stopping, the choice of weights and, with `schedule: plateau`, the learning rate.
        folder: where model, log and state go.
        config: what to say in config.json beside the architecture.
    """
    settings, seed = experiment.train, config["seed"]
    torch.set_num_threads(1)  # for matrices this small more are slower, and change the last bits
    torch.manual_seed(seed)
    model = WyckoffTransformer(experiment.model, VOCABULARY)
    optimizer = _optimizer(model, settings)
    structure, known = pairs(train_set)
    steps = math.ceil(len(structure) / settings.batch)
    scheduler = _scheduler(optimizer, settings, steps)
    neighbours = similar_elements(VOCABULARY)
    state = {"epoch": 0, "best": math.inf, "best_epoch": 0, "log": []}
    digest = hashlib.sha256()
    for tensor in (*vars(train_set).values(), *vars(val_set).values()):
        digest.update(tensor.numpy().tobytes())
    identity = {
        "config": config,
        "model": experiment.model.model_dump(),
        "train": settings.model_dump(),
        "data_sha256": digest.hexdigest(),
    }
    if checkpoint.resume(folder, identity, model, optimizer, scheduler, state):
        tqdm.write(f"going on after epoch {state['epoch']}", file=sys.stderr)

    progress = tqdm(
        range(state["epoch"], settings.epochs),
        initial=state["epoch"],
        total=settings.epochs,
        desc="train",
        unit="epoch",
        disable=None,
        file=sys.stderr,
    )
    for epoch in progress:
        torch.manual_seed(1_000_003 * seed + epoch)
        model.train()
        fade = max(0.0, 1 - epoch / (settings.augment_until * settings.epochs + 1e-9))
        total = 0.0
        for chosen in _batches(known, settings.batch):
            rows = structure[chosen]
            element, position = augment(
                train_set,
                rows,
                settings.variants * fade,
                settings.substitute * fade,
                neighbours,
            )
            batch = prefixes(train_set.space_group[rows], element, position, known[chosen])
            value = loss(model, batch)
            optimizer.zero_grad()
            value.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), settings.clip)
            optimizer.step()
            if settings.schedule == "cosine":
                scheduler.step()
            total += value.item() * len(chosen)
        if not math.isfinite(total):
            raise ValueError(
                f"the loss became {total} in epoch {epoch + 1}; the best model so far stays in {folder}. "
                "Lower train.lr."
            )
        state["epoch"] = epoch + 1
        if state["epoch"] % settings.evaluate_every and state["epoch"] < settings.epochs:
            continue
        model.eval()
        nll = validate(model, val_set, seed)
        if settings.schedule == "plateau":
            scheduler.step(nll)
        state["log"].append(
            {
                "epoch": state["epoch"],
                "lr": optimizer.param_groups[0]["lr"],
                "train_nll": total / len(train_set),
                "val_nll": nll,
            }
        )
        progress.set_postfix(train=f"{total / len(train_set):.2f}", val=f"{nll:.2f}")
        if nll < state["best"]:
            state["best"], state["best_epoch"] = nll, state["epoch"]
            checkpoint.save(
                folder,
                model,
                config | {"train": settings.model_dump(), "val_nll": nll, "epoch": state["epoch"]},
            )
        with (
            paths.writing(folder / "log.csv") as temporary,
            temporary.open("w", newline="") as file,
        ):
            writer = csv.DictWriter(file, state["log"][0])
            writer.writeheader()
            writer.writerows(state["log"])
        checkpoint.save_state(folder, identity, model, optimizer, scheduler, state)
        if state["epoch"] - state["best_epoch"] > settings.patience:
            break
    (folder / checkpoint.STATE).unlink(missing_ok=True)
    return checkpoint.load(folder)


def _optimizer(model: WyckoffTransformer, settings: Train) -> torch.optim.Optimizer:
    if settings.optimizer == "sgd":
        return torch.optim.SGD(model.parameters(), settings.lr, weight_decay=settings.weight_decay)
    return torch.optim.AdamW(
        model.parameters(), settings.lr, weight_decay=settings.weight_decay, betas=(0.9, 0.98)
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


def _batches(known: Tensor, size: int) -> list[Tensor]:
    """All pairs once, in random batches of prefixes of similar length."""
    batches = []
    for bucket in torch.randperm(len(known)).split(size * BUCKET):
        batches += bucket[known[bucket].argsort(stable=True)].split(size)
    return [batches[i] for i in torch.randperm(len(batches))]
