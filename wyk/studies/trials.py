"""One experiment trained with changed settings: the way from the paper's recipe to ours, and what invariance buys.

Every trial is one model, trained on the training set alone and judged by the same functions. A trial that is
finished is not repeated, one that was interrupted goes on, and settings that occur twice are trained once.
"""

import hashlib
import json
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from lightning_fabric import Fabric
from tqdm import tqdm

from wyk import metrics, sampling
from wyk.common import weights
from wyk.crystals import VOCABULARY, from_table, read_representations
from wyk.likelihood import likelihood, log_orders, set_log_p
from wyk.model import checkpoint, encode
from wyk.plumbing import Experiment, Trial, as_done, params, paths
from wyk.training import fit, of_data

IDENTITY, SECONDS, RESULT = "identity.json", "seconds.json", "result.json"
WARM_UP = 50  # samples before the clock starts
PLUMBING = (
    "wyk.cli.main",
    "wyk.cli.options",
    "wyk.plumbing.params",
    "wyk.plumbing.paths",
)  # a change there changes no result
RAW = (
    "formal_validity",
    "uniqueness",
    "novelty",
    "charge_neutrality_smact14",
    "sites_ks",
    "elements_ks",
    "dof_ks",
)


def run(name: str, jobs: int = 1) -> Path:
    """All trials of an experiment of params.yaml, on its representations.

    Writes to figures/<name> trials.csv and trials_log.csv, metrics and learning curves, which only depend on
    the settings, and trials_seconds.csv, the times that were measured. Models stay in runs/<name>/trials.

    Args:
        name: of the experiment.
        jobs: trials side by side; what is written does not depend on it, but for the times.

    Returns:
        Path of trials.csv.

    Raises:
        FileNotFoundError: if the representations are not there.
        BlockingIOError: if another run of them is going on.
        ValueError: naming the trials that failed; the others are done.
    """
    experiment, seed = params.experiment(name), params.load().seed
    rows = experiment.trial_settings()
    if not rows:
        raise ValueError(f"experiment {name} has no trials in params.yaml")
    common = {
        "seed": seed,
        "samples": experiment.trials.samples,
        "permutations": experiment.trials.permutations,
        "data_sha256": _digest(_splits(name).values()),
        "code_sha256": _digest(_code()),
        "processor": torch.backends.cpu.get_cpu_capability(),  # sums round differently by it
    }
    folders, tasks = [], {}
    for _, _, settings in rows:
        content = {key: getattr(settings, key).model_dump() for key in ("model", "train")}
        text = json.dumps(content)
        folder = paths.run(name, "trials") / hashlib.sha256(text.encode()).hexdigest()[:12]
        folders.append(folder)
        tasks[folder] = (name, settings, folder, content | common)
    names = {folder: trial.name for folder, (_, trial, _) in zip(folders, rows, strict=True)}
    failures = []
    with paths.alone(paths.run(name, "trials")):
        todo = {f: task for f, task in tasks.items() if not finished(f, task[-1])}
        with tqdm(total=len(todo), desc="trials", disable=None) as bar:
            for folder, _, reason in as_done(_trial, todo, jobs):
                bar.update()
                if reason:
                    failures.append(f"{names[folder]}: {reason}")
    if failures:
        raise ValueError(f"experiment {name}, trial {'; '.join(sorted(failures))}")
    return _write(name, rows, folders)


def _splits(name: str) -> dict[str, Path]:
    folder = paths.run(name, "represent")
    return {split: folder / f"{split}.parquet" for split in ("train", "val", "test")}


def _code() -> list[Path]:
    """The modules that this one runs."""
    loaded = [m for n, m in sys.modules.items() if n.startswith("wyk.") and n not in PLUMBING]
    return sorted({Path(module.__file__) for module in loaded if module.__file__})


def _digest(files) -> str:
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def finished(folder: Path, identity: dict) -> bool:
    """Whether a trial has its result; what other settings, data or code left is removed."""
    if _read_json(folder / IDENTITY) != identity:
        shutil.rmtree(folder, ignore_errors=True)
    return _read_json(folder / RESULT).get("identity") == identity


def _trial(name: str, settings: Experiment, folder: Path, identity: dict) -> None:
    """Train and measure one model; the result comes last, so that it stands for all the rest."""
    _write_json(folder / IDENTITY, identity)
    tables = {split: read_representations(path) for split, path in _splits(name).items()}
    sets = {split: from_table(tables[split]) for split in ("train", "val")}
    config = {"experiment": name, "seed": identity["seed"]} | of_data(sets["train"] + sets["val"])
    whole = not (folder / weights.STATE).is_file()
    begin = time.process_time()
    fit(
        Fabric(devices=1),
        settings,
        encode(sets["train"], VOCABULARY, variants=len(sets["train"])),
        encode(sets["val"], VOCABULARY),
        folder,
        config,
    )
    if whole:  # what an interrupted training took is not known
        _write_json(folder / SECONDS, {"train_cpu_seconds": time.process_time() - begin})
    measured, speed = _measure(folder, settings, identity, tables)
    seconds = {"train_cpu_seconds": None} | _read_json(folder / SECONDS)
    seconds["samples_per_cpu_second"] = speed
    _write_json(folder / RESULT, {"identity": identity, "metrics": measured, "seconds": seconds})


def _measure(
    folder: Path, settings: Experiment, identity: dict, tables: dict[str, pd.DataFrame]
) -> tuple[dict, float]:
    """The metrics of a trained model, and how many samples it draws in a second of one core."""
    model, masks = checkpoint.load(folder), settings.train.formal_masks
    seed, permutations = identity["seed"], identity["permutations"]
    sample = sampling.sample if masks else sampling.sample_unconstrained
    sample(model, WARM_UP, seed=seed)
    begin = time.process_time()
    drawn = sample(model, identity["samples"], seed=seed)
    speed = identity["samples"] / (time.process_time() - begin)
    drawn, invalid = (drawn, drawn.head(0)) if masks else drawn

    result = {
        "parameters": sum(tensor.numel() for tensor in model.parameters()),
        "epochs": settings.train.epochs,
        "best_epoch": model.config["epoch"],
        "samples": identity["samples"],
    }
    if len(drawn):
        own = likelihood(model, drawn, permutations, seed, masks)
        result |= _mean("permutation_kl", own["log_p"] - own["log_p_mean"])
        result |= _mean("entropy", -own["log_p"])
    for split in ("val", "test"):
        table = likelihood(model, tables[split], permutations, seed, masks)
        known = table["reason"].isna()
        if not known.all():
            raise ValueError(f"{split} has rows without a likelihood: {table['reason'].dropna()}")
        data = encode(from_table(tables[split]), VOCABULARY)
        table["log_set_jensen"] = table["log_p_mean"] + log_orders(data).numpy()
        canonical, estimate, exact = set_log_p(model, data, masks, seed)
        table = table.assign(log_canonical=canonical, log_set=estimate, exact=exact)
        with paths.writing(folder / f"{split}.parquet") as temporary:
            table.to_parquet(temporary, index=False)
        result |= {
            f"{split}_n": len(table),
            **_mean(f"{split}_nll", -table["log_p_mean"]),
            f"{split}_sigma_permutation": table["log_p_std"].mean(),
            f"{split}_canonical_nll": -table["log_canonical"].mean(),
            f"{split}_set_nll_jensen": -table["log_set_jensen"].mean(),
            **_mean(f"{split}_set_nll", -table["log_set"]),
            f"{split}_set_exact": table["exact"].mean(),
        }
    known = pd.concat([tables["train"], tables["val"]])
    everything = pd.concat([drawn, invalid])
    raw = metrics.raw(everything, tables["test"], known, known, seed)
    for key in RAW:
        result |= raw[key].columns(key)
        result |= {f"{key}_floor": raw[key].floor} if raw[key].floor_n is not None else {}
        result[f"{key}_n"] = raw[key].n
    return {key: None if pd.isna(value) else value for key, value in result.items()}, speed


def _mean(key: str, values: pd.Series) -> dict:
    """A mean with its standard error."""
    return {key: values.mean(), f"{key}_se": values.std() / np.sqrt(len(values))}


def _read_json(path: Path) -> dict:
    return json.loads(path.read_text()) if path.is_file() else {}


def _write_json(path: Path, content: dict) -> None:
    with paths.writing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n")


def _write(name: str, rows: list[tuple[str, Trial, Experiment]], folders: list[Path]) -> Path:
    """The tables; changes are from the row before, or outside the ablation from the first of the group."""
    others: dict[str, Path] = {}  # of each group: what a row is compared with
    table, seconds, logs = [], [], []
    for (group, trial, _), folder in zip(rows, folders, strict=True):
        result = _read_json(folder / RESULT)
        said = {"group": group, "name": trial.name}
        settings = ", ".join(f"{key}: {json.dumps(value)}" for key, value in trial.changes.items())
        changes = {}
        for split in ("val", "test") if group in others else ():
            mine, other = (pd.read_parquet(f / f"{split}.parquet") for f in (folder, others[group]))
            for key, column in (("nll", "log_p_mean"), ("set_nll", "log_set")):
                changes |= _mean(f"{split}_{key}_change", other[column] - mine[column])
        if group == "ablation" or group not in others:
            others[group] = folder
        table.append(said | {"changes": settings} | result["metrics"] | changes)
        seconds.append(said | result["seconds"])
        logs.append(pd.read_csv(folder / "log.csv").assign(**said))
    log = pd.concat(logs)[["group", "name", "epoch", "lr", "train_nll", "val_nll"]]
    tables = {
        "trials": pd.DataFrame(table),
        "trials_log": log,
        "trials_seconds": pd.DataFrame(seconds),
    }
    folder = paths.figures(name)
    for file, content in tables.items():
        with paths.writing(folder / f"{file}.csv") as temporary:
            content.to_csv(temporary, index=False, float_format="%.6g")
    return folder / "trials.csv"
