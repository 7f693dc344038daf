"""``params.yaml``, read once and checked: an unknown key is an error, not a silence."""

from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from wyk.paths import PARAMS

Positive = Annotated[int, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, lt=1)]


class Section(BaseModel):
    """A block of settings: every key known, every type exact, nothing changed after reading."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Data(Section):
    """Data sets, each a name such as ``mp_20_biternary:val`` or a path."""

    train: str
    val: str
    test: str
    # What they are read from, for DVC to see a change of it. The embedded data set comes inside
    # pymatgen, whose version the lock pins.
    files: str


class Model(Section):
    """Architecture of the network."""

    d: Positive
    encoder_layers: Positive
    query_layers: Positive
    heads: Positive
    feedforward: Positive  # width of the feed-forward layers, in units of d
    dropout: Fraction


class Train(Section):
    """Optimisation, augmentation, early stopping."""

    epochs: Positive
    batch: Positive  # (structure, prefix) pairs in a step
    optimizer: Literal["adamw", "sgd"]
    lr: Annotated[float, Field(gt=0)]
    weight_decay: Annotated[float, Field(ge=0)]
    clip: Annotated[float, Field(gt=0)]  # of the gradient's norm
    schedule: Literal["cosine", "plateau"]  # plateau halves the rate when validation stalls
    warmup: Fraction  # of all steps; cosine only
    variants: Fraction  # probability of a random normalizer variant
    substitute: Fraction  # probability that one element becomes a similar one
    augment_until: Annotated[float, Field(ge=0)]  # fraction of epochs over which both fade to none
    evaluate_every: Positive  # epochs
    patience: Positive  # epochs without a better validation likelihood


class Sample(Section):
    """Sampling of Wyckoff representations."""

    n: Positive
    temperature: Annotated[float, Field(gt=0)]


class Likelihood(Section):
    """Likelihood of data and of samples, Appendix D of the paper."""

    n: Positive  # structures of each set, from its beginning
    n_hot_and_cold: Positive  # samples at T = 100 and 0.01; hot ones are long, and slow to judge
    permutations: Positive  # random orders of each structure


class Structures(Section):
    """Crystals made of the first samples."""

    n: Positive
    draws: Positive  # pyXtal draws of each representation; the lowest energy counts
    time_limit: Positive  # s for one draw and its relaxation


class Experiment(Section):
    """One column of the pipeline."""

    data: Data
    model: Model
    train: Train
    sample: Sample
    likelihood: Likelihood
    structures: Structures


class Params(Section):
    """The whole of ``params.yaml``."""

    seed: Annotated[int, Field(ge=0)]
    experiments: dict[str, Experiment]


def load(path: str | Path = PARAMS) -> Params:
    """Reads and checks a parameter file.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: naming the file and every key that is unknown, missing or of the wrong kind.
    """
    path = Path(path)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    try:
        return Params.model_validate(content)
    except ValidationError as error:
        complaints = "; ".join(
            f"{'.'.join(str(part) for part in e['loc']) or 'the file'}: {_reason(e)}"
            for e in error.errors()
        )
        raise ValueError(f"{path}: {complaints}") from error


def experiment(name: str, path: str | Path = PARAMS) -> Experiment:
    """Settings of one experiment.

    Raises:
        ValueError: naming the known experiments, if ``name`` is none of them.
    """
    experiments = load(path).experiments
    if name not in experiments:
        raise ValueError(f"{path}: no experiment {name!r}; there are {', '.join(experiments)}.")
    return experiments[name]


def _reason(error: dict) -> str:
    known = {"extra_forbidden": "unknown key", "missing": "missing"}
    return known.get(error["type"]) or f"{error['msg']}, got {error['input']!r}"
