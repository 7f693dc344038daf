"""Models and training states on disk: tensors as safetensors, the rest as JSON, never pickle."""

import hashlib
import json
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

import safetensors
import torch
from pydantic import BaseModel
from safetensors.torch import save_file
from torch import nn

from wyk.common.definitions import ELEMENTS
from wyk.plumbing import writing

Network = TypeVar("Network", bound=nn.Module)

FORMAT = 2
WEIGHTS, CONFIG, STATE = "model.safetensors", "config.json", "state.safetensors"


def save(folder: Path, models: Sequence[nn.Module], config: dict) -> None:
    """Write a model folder: the weights, and config.json with architecture, vocabulary, data and versions.

    Args:
        folder: of the model.
        models: its members, of one architecture and vocabulary; mostly a single one.
        config: what else to say.
    """
    config = config | {
        "format": FORMAT,
        "members": len(models),
        "model": models[0].settings.model_dump(),
        "elements": list(models[0].elements),
        "versions": {name: version(name) for name in ("wyk", "torch", "pyxtal", "pymatgen")},
    }
    text = json.dumps(config, indent=1)
    tensors = {f"{i}.{name}": t for i, m in enumerate(models) for name, t in m.state_dict().items()}
    _write(folder / WEIGHTS, tensors, {"config_sha256": _digest(text)})
    with writing(folder / CONFIG) as temporary:
        temporary.write_text(text)


def networks(
    folder: str | Path, kind: Callable[..., Network], settings_of: type[BaseModel]
) -> tuple[list[Network], dict]:
    """The networks in a model folder, and the content of config.json.

    Args:
        folder: that `save` wrote.
        kind: of network, made of settings and elements.
        settings_of: what the settings of such a network are.

    Raises:
        FileNotFoundError: if the folder holds no model.
        ValueError: if weights and config do not belong together, or either is damaged, of another version or of
            another kind of network.
    """
    folder = Path(folder)
    for name in (WEIGHTS, CONFIG):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder} is not a model: it has no {name}")
    text = (folder / CONFIG).read_text(encoding="utf-8", errors="replace")
    try:
        config = json.loads(text)
        if config["format"] != FORMAT:
            raise ValueError(f"format {config['format']}, this version reads {FORMAT}")
        elements = tuple(config["elements"])
        if unknown := set(elements) - set(ELEMENTS):
            raise ValueError(f"no elements: {sorted(unknown)}")
        settings = settings_of.model_validate(config["model"])
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise ValueError(f"{folder / CONFIG} is not a config of this version: {error}") from error
    tensors, metadata = _read(folder / WEIGHTS)
    if metadata.get("config_sha256") != _digest(text):
        raise ValueError(
            f"{folder / CONFIG} was changed after {WEIGHTS} was written, or belongs to another model; "
            "restore both from the same run"
        )
    members = len({name.partition(".")[0] for name in tensors})
    sizes = settings.model_dump()
    layers = sum(number for name, number in sizes.items() if name.endswith("layers"))
    least = layers * sizes["d"] ** 2 * sizes.get("feedforward", 1)
    # before anything is built of a size that the weights do not have
    if members != config.get("members") or least > sum(t.numel() for t in tensors.values()):
        raise ValueError(f"{folder / WEIGHTS} does not fit its config.json: weights are missing")
    if not all(tensor.isfinite().all() for tensor in tensors.values()):
        raise ValueError(f"{folder / WEIGHTS} holds NaN or infinite weights")
    try:
        found = nn.ModuleList(kind(settings, elements) for _ in range(members))
        found.load_state_dict(tensors)
    except (RuntimeError, ValueError, LookupError) as error:
        raise ValueError(f"{folder / WEIGHTS} does not fit its config.json: {error}") from error
    torch.set_num_threads(1)  # as in training
    return list(found), config


def save_state(folder: Path, identity: dict, model, optimizer, scheduler, state: dict) -> None:
    """Write all that a run needs to go on, in one file.

    Args:
        folder: of the run.
        identity: settings and data; a state is only resumed by a run with the same.
        model, optimizer, scheduler: as they are now.
        state: further JSON-able state.
    """
    moments = optimizer.state_dict()
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    for index, values in moments["state"].items():
        tensors |= {f"optimizer.{index}.{key}": t for key, t in values.items() if t is not None}
    metadata = {
        "identity": identity,
        "groups": moments["param_groups"],
        "scheduler": scheduler.state_dict(),
        "state": state,
    }
    _write(
        folder / STATE, tensors, {"json": json.dumps(metadata)}
    )  # one key: their order is random


def resume(folder: Path, identity: dict, model, optimizer, scheduler, state: dict) -> bool:
    """Take up the state saved in a folder, in place; False if there is none of the same identity."""
    path = folder / STATE
    if not path.is_file():
        return False
    tensors, metadata = _read(path)
    saved = json.loads(metadata["json"])
    if saved["identity"] != json.loads(json.dumps(identity)):
        return False  # other settings or data: a new run
    moments: dict[int, dict] = {}
    weights = {}
    for name, tensor in tensors.items():
        kind, rest = name.split(".", 1)
        if kind == "model":
            weights[rest] = tensor
        else:
            index, key = rest.split(".")
            moments.setdefault(int(index), {})[key] = tensor
    model.load_state_dict(weights)
    optimizer.load_state_dict({"state": moments, "param_groups": saved["groups"]})
    scheduler.load_state_dict(saved["scheduler"])
    state.update(saved["state"])
    return True


def _write(path: Path, tensors: dict[str, torch.Tensor], metadata: dict[str, str]) -> None:
    with writing(path) as temporary:
        try:
            save_file(tensors, temporary, metadata)
        except safetensors.SafetensorError as error:  # a full disk, most likely
            raise OSError(f"{path}: {error}") from error


def _read(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    try:
        with safetensors.safe_open(path, "pt") as file:
            names = file.keys()  # no mapping: it can not be iterated itself
            return {name: file.get_tensor(name) for name in names}, file.metadata() or {}
    except safetensors.SafetensorError as error:
        raise ValueError(f"{path} is damaged: {error}") from error


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
