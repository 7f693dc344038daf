"""Training of the diffusion of coordinates and cells."""

import hashlib
import logging
import math
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from wyk.common import ELEMENTS, weights
from wyk.coordinates import diffusion
from wyk.coordinates.denoiser import Denoiser, Graph
from wyk.coordinates.frames import Frame, of_structure
from wyk.files import datasets
from wyk.plumbing import Diffusion, params, paths, workers

AVERAGE = 0.999  # of the weights, what is kept at each step: their average is the model
WEIGHT_DECAY, CLIP = 0.05, 1.0
WARMUP = 0.02  # of all steps


def train(name: str, jobs: int = 1) -> None:
    """Train the diffusion of an experiment of params.yaml on its train and val crystals, or go on where a run stopped.

    Writes `model.safetensors`, `config.json` and `log.csv` to runs/<name>/diffusion.

    Args:
        name: of the experiment.
        jobs: processes, one of which learns and the others make noise; the result does not depend on it.

    Raises:
        BlockingIOError: if another run is training it.
        ValueError, OSError: if there is no such experiment, its data cannot be read, or the loss becomes NaN.
    """
    experiment = params.experiment(name)
    crystals = framed((experiment.data.train, experiment.data.val), jobs)
    begin()
    model = untrained(experiment.diffusion, crystals)
    fit(model, crystals, paths.run(name, "diffusion"), config(name, model, crystals), jobs)


def begin() -> None:
    """Make what torch computes from here on follow from the seed of params.yaml."""
    torch.set_num_threads(1)  # more would change the last bits
    torch.manual_seed(params.load().seed)


def config(name: str, model: Denoiser, crystals: list[tuple]) -> dict:
    """What is to be said of a network that an experiment's crystals train."""
    return {
        "experiment": name,
        "data": params.experiment(name).data.model_dump(),
        "structures": len(crystals),
        "seed": params.load().seed,
        "parameters": sum(weights.numel() for weights in model.parameters()),
    }


def untrained(settings: Diffusion, crystals: list[tuple]) -> Denoiser:
    """A network for the elements and the cells of crystals, as `frames.of_structure` gives them."""
    return shaped(
        Denoiser(settings, elements_of(crystals)), [(frame, k) for frame, _, k in crystals]
    )


def elements_of(crystals: list[tuple]) -> tuple[str, ...]:
    """Symbols of the elements of crystals, as `frames.of_structure` gives them, by atomic number."""
    numbers = {z for frame, *_ in crystals for z in frame.crystal.numbers.tolist()}
    return tuple(ELEMENTS[z - 1] for z in sorted(numbers))


def shaped(model: Denoiser, crystals: list[tuple[Frame, np.ndarray]]) -> Denoiser:
    """A network that takes the lattices of crystals, given by frame and k, for the usual ones."""
    model.mean, model.std = (
        torch.tensor(x, dtype=torch.float32) for x in diffusion.shapes(crystals)
    )
    return model


def framed(sources: tuple[str, ...], jobs: int) -> list[tuple]:
    """The crystals of data sets, each as `frames.of_structure` gives it; what has no frame is logged."""
    structures = [crystal for source in sources for crystal in datasets.structures(source)[0]]
    results = workers.in_order(_in_frame, structures, jobs, datasets.TIME_LIMIT)
    crystals = []
    for (material_id, _), result in tqdm(
        results, "frames", len(structures), unit="crystal", disable=None, file=sys.stderr
    ):
        if isinstance(result, workers.Failed):
            logging.getLogger(__name__).warning("%s: %s. Skipped.", material_id, result.reason)
        else:
            crystals.append(result)
    if not crystals:
        raise ValueError(f"{', '.join(sources)}: no crystal to learn from")
    return crystals


def _in_frame(crystal: tuple) -> tuple:
    return of_structure(crystal[1])


class Lessons(Dataset):
    """Noisy crystals; an index is an epoch and a row, from which the noise follows."""

    def __init__(self, model: Denoiser, crystals: list[tuple], seed: int, lesson: Callable):
        self.model, self.crystals, self.seed, self.lesson = model, crystals, seed, lesson

    def __getitem__(self, index: tuple[int, int]) -> diffusion.Lesson:
        epoch, row = index
        return self.lesson(self.model, *self.crystals[row], [self.seed, epoch, row])


def _together(lessons: list[diffusion.Lesson]) -> diffusion.Lesson:
    parts = {f.name: [getattr(lesson, f.name) for lesson in lessons] for f in fields(lessons[0])}
    graph = Graph.together(parts.pop("graph"))
    return type(lessons[0])(graph, **{name: torch.cat(tensors) for name, tensors in parts.items()})


def _batches(n: int, settings: Diffusion, seed: int, epoch: int) -> Iterator[list]:
    """Indices of lessons from an epoch on: all of n crystals in each, in a new order."""
    for later in range(epoch, settings.epochs):
        order = np.random.default_rng([seed, later]).permutation(n).tolist()
        for start in range(0, n, settings.batch):
            yield [(later, row) for row in order[start : start + settings.batch]]


def fit(
    model: Denoiser, crystals: list[tuple], folder: Path, config: dict, jobs: int = 1, **what
) -> None:
    """Train a network, alone in its folder; a model that is there stays until this one is finished.

    Args:
        model: untrained.
        crystals: as `frames.of_structure` gives them.
        folder: where model and log go in the end; meanwhile they, and the state, are in its folder `unfinished`.
        config: what to say in config.json beside the architecture.
        jobs: as in `train`.
        what: `lesson` and `loss`, what the network is to learn and how far it is from it, instead of the diffusion's.

    Raises:
        BlockingIOError: if another run is training there.
        ValueError: if the loss is not finite.
    """
    unfinished = folder / "unfinished"
    with paths.alone(folder):
        _fit(model, crystals, unfinished, config, jobs, **what)
        for file in ("log.csv", weights.WEIGHTS, weights.CONFIG):
            (unfinished / file).replace(folder / file)
        shutil.rmtree(unfinished)


def _fit(
    model: Denoiser,
    crystals: list[tuple],
    folder: Path,
    config: dict,
    jobs: int = 1,
    lesson: Callable[..., diffusion.Lesson] = diffusion.lesson,
    loss: Callable[..., Tensor] = diffusion.loss,
) -> None:
    """Every random number follows from (seed, epoch, row), and the state is saved between epochs."""
    settings, seed = model.settings, config["seed"]
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(AVERAGE), use_buffers=False)
    both = nn.ModuleDict({"now": model, "average": average})
    optimizer = torch.optim.AdamW(
        model.parameters(), settings.lr, betas=(0.9, 0.98), weight_decay=WEIGHT_DECAY
    )
    every = math.ceil(len(crystals) / settings.batch)  # steps of an epoch
    steps = settings.epochs * every

    def rate(step: int) -> float:
        return min(1, (step + 1) / (WARMUP * steps)) * 0.5 * (1 + math.cos(math.pi * step / steps))

    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    digest = hashlib.sha256(b"".join(x.tobytes() + k.tobytes() for _, x, k in crystals))
    identity = config | {"diffusion": settings.model_dump(), "crystals": digest.hexdigest()}
    state = {"epoch": 0, "log": []}
    weights.resume(folder, identity, both, optimizer, scheduler, state)
    workers = {"num_workers": jobs - 1, "multiprocessing_context": "forkserver"} if jobs > 1 else {}
    batches = iter(
        DataLoader(
            Lessons(model, crystals, seed, lesson),
            batch_sampler=_batches(len(crystals), settings, seed, state["epoch"]),
            collate_fn=_together,
            **workers,
        )
    )
    for epoch in tqdm(
        range(state["epoch"], settings.epochs),
        initial=state["epoch"], total=settings.epochs, unit="epoch", disable=None, file=sys.stderr,
    ):  # fmt: skip
        losses = []
        for batch in islice(batches, every):
            value = loss(model, batch)
            optimizer.zero_grad()
            value.backward()
            nn.utils.clip_grad_norm_(model.parameters(), CLIP)
            optimizer.step()
            scheduler.step()
            average.update_parameters(model)
            losses.append(value.item())
        if not math.isfinite(sum(losses)):
            raise ValueError(
                f"the loss became {sum(losses)} in epoch {epoch + 1}; the model so far stays in {folder}. "
                "Lower diffusion.lr."
            )
        state["epoch"] = epoch + 1
        state["log"].append({"epoch": epoch + 1, "loss": sum(losses) / len(losses)})
        with paths.writing(folder / "log.csv") as temporary:
            pd.DataFrame(state["log"]).to_csv(temporary, index=False)
        weights.save(folder, [average.module], config | {"epoch": epoch + 1})
        weights.save_state(folder, identity, both, optimizer, scheduler, state)
