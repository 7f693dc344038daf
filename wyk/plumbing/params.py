"""``params.yaml``, read once and checked: an unknown key is an error, not a silence."""

from functools import cache
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from wyk.plumbing.paths import PARAMS

Positive = Annotated[int, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, lt=1)]


class Section(BaseModel):
    """A block of settings: every key known, every type exact, nothing changed after reading."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Files(Section):
    """The file that each data set is read from, for DVC to see a change of it.

    The embedded data set comes inside pymatgen, whose version requirements.lock pins.
    """

    train: str
    val: str
    test: str


class Data(Section):
    """Data sets, each a name such as ``mp_20_biternary:val`` or a path."""

    train: str
    val: str
    test: str
    files: Files


class Model(Section):
    """Architecture of the network."""

    d: Positive
    encoder_layers: Positive
    query_layers: Annotated[int, Field(ge=0)]  # 0: the encoder sees the MASK token, as in the paper
    heads: Positive
    feedforward: Positive  # width of the feed-forward layers, in units of d
    dropout: Fraction
    attention: Literal["set", "causal"]  # whether a known site sees all others or those before it
    # which elements and site symmetries are known: beside the heads' input, as in the paper; a bonus on the
    # logits of those classes; or that, and first of all whether a new element, a known one or STOP is next
    presence: Literal["concatenated", "bonus", "kinds"]
    balance: bool  # whether common oxidation states can balance, now and with one more site
    descriptors: bool  # properties of elements, groups and positions beside their embeddings

    @model_validator(mode="after")
    def _can_be_built(self) -> "Model":
        if self.d % self.heads:
            raise ValueError(f"d {self.d} is not divisible by heads {self.heads}")
        if self.attention == "causal" and not self.query_layers:
            raise ValueError("attention causal needs query_layers: the MASK token comes first")
        return self


class Distil(Section):
    """Second training: on samples of all members, which tell in any order what they know together."""

    samples: Positive  # drawn; about half of them become lessons
    epochs: Positive
    real: Annotated[float, Field(gt=0, lt=1)]  # share of real crystals in an epoch
    lr: Annotated[float, Field(gt=0)]
    members: Positive  # that are trained again, without dropout, and make the final model


class Train(Section):
    """Optimisation, augmentation, early stopping."""

    epochs: Positive
    batch: Positive  # (structure, prefix) pairs in a step
    # what a step learns: one part of one next site after one number of known sites, as published, or
    # all parts of all remaining sites after any number of them
    targets: Literal["one", "all"]
    order: Literal["random", "canonical"]  # of the sites: canonical is by Wyckoff position
    formal_masks: bool  # what the group forbids has no probability
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
    refit: bool  # on train and validation, all epochs, once settings are chosen
    members: Positive  # models that differ in their seed, and predict together
    distil: Distil | None

    @model_validator(mode="after")
    def _can_be_followed(self) -> "Train":
        if self.refit and self.schedule == "plateau":
            raise ValueError("refit leaves no validation for schedule plateau: take cosine")
        if self.distil and self.distil.members > self.members:
            raise ValueError(f"distil.members {self.distil.members}: there are only {self.members}")
        return self


class Sample(Section):
    """Sampling of Wyckoff representations."""

    n: Positive
    temperature: Annotated[float, Field(gt=0)]


class Likelihood(Section):
    """Likelihood of data and of samples, Appendix D of the paper."""

    n: Positive  # structures of each set, from its beginning
    n_hot_and_cold: Positive  # samples at T = 100 and 0.01; hot ones are long, and slow to judge
    permutations: Positive  # random orders of each structure


class Sweep(Section):
    """Samples at several temperatures."""

    n: Positive  # samples at each
    temperatures: Annotated[str, Field(pattern=r"^[\d.]+(,[\d.]+)*$")]  # as `wyk sweep` takes them


class Structures(Section):
    """Crystals made of the first samples."""

    n: Positive
    # pyXtal draws of each representation, as `wyk structures` takes them; the lowest energy counts
    draws: Positive | Annotated[str, Field(pattern=r"^[1-9]\d*(,[1-9]\d*){3}$")]
    time_limit: Positive  # s for all draws of a representation and their relaxation

    def numbers(self) -> list[int]:
        """`draws` as one number or four."""
        return [int(part) for part in str(self.draws).split(",")]


class Diffusion(Section):
    """Diffusion of coordinates and cells, of elements, too, for DiffCSP: the network, and its training."""

    d: Positive
    layers: Positive
    epochs: Positive
    batch: Positive  # noisy crystals in a step
    lr: Annotated[float, Field(gt=0)]


class Starts(Section):
    """Draws of pyXtal and of the diffusion, compared."""

    n: Positive  # real crystals of the test set
    draws: Positive  # of each from either start
    crystals: Positive  # made of the first samples from the diffusion, and from both


class Baselines(Section):
    """Representations to compare with, and crystals of the first of them, drawn as in `structures`."""

    n: Positive
    crystals: Positive
    wycryst_epochs: Positive


class Recovery(Section):
    """Real crystals of the test set, looked for by random draws."""

    n: Positive
    draws: Positive  # of each


class Condition(Section):
    """What samples are asked for; `name` is that of a folder."""

    name: str
    space_groups: list[int] | None = None
    elements: list[str] | None = None  # no others
    required: list[str] | None = None  # all of these

    def asked(self) -> dict:
        """As arguments of `sampling.sample`."""
        return self.model_dump(exclude={"name"}, exclude_none=True)


class Conditional(Section):
    """Crystals under conditions, beside free ones that fulfil them."""

    n: Positive  # of each
    conditions: list[Condition]


class Trial(Section):
    """A training with some settings changed."""

    name: str  # in tables and figures
    changes: dict[str, bool | int | float | str]  # such as {train.lr: 0.004}


class Trials(Section):
    """Trainings that show what each setting is worth; all of one member, validation held out."""

    samples: Positive  # of each trained model
    permutations: Positive  # random orders of each structure, for its likelihood
    # from the paper's recipe to the own settings, each changes the one before
    ablation: list[Trial]
    search: list[Trial]  # each changes the experiment's own settings; validation chooses
    invariance: list[Trial]  # likewise; notebook 05


class Experiment(Section):
    """One column of the pipeline."""

    data: Data
    model: Model
    train: Train
    sample: Sample
    likelihood: Likelihood
    sweep: Sweep
    structures: Structures
    diffusion: Diffusion
    starts: Starts
    baselines: Baselines
    diffcsp: Diffusion
    recovery: Recovery
    conditional: Conditional
    trials: Trials

    def trial_settings(self) -> list[tuple[str, Trial, "Experiment"]]:
        """Group, trial and settings of every trial, in the order of the file.

        Raises:
            ValueError: naming the trial and what is wrong with it.
        """
        own = self.changed({"train.refit": False, "train.members": 1, "train.distil": None})
        result = []
        for group in ("ablation", "search", "invariance"):
            settings, names = own, set()
            for trial in getattr(self.trials, group):
                try:
                    if trial.name in names:
                        raise ValueError("there are two of this name")
                    names.add(trial.name)
                    settings = (settings if group == "ablation" else own).changed(trial.changes)
                except ValueError as error:
                    raise ValueError(f"trials.{group}, {trial.name}: {error}") from error
                result.append((group, trial, settings))
        return result

    def changed(self, changes: dict) -> "Experiment":
        """These settings with some of model and training changed, such as {"train.lr": 0.004}.

        Raises:
            ValueError: naming the key that is unknown or has a value of the wrong kind.
        """
        content = {"model": self.model.model_dump(), "train": self.train.model_dump()}
        for key, value in changes.items():
            section, _, leaf = key.partition(".")
            if leaf not in content.get(section, {}):
                raise ValueError(f"{key}: unknown key")
            content[section][leaf] = value
        try:
            update = {
                "model": Model.model_validate(content["model"]),
                "train": Train.model_validate(content["train"]),
            }
        except ValidationError as error:
            raise ValueError(_complaints(error)) from error
        return self.model_copy(update=update)

    @model_validator(mode="after")
    def _trials_are_possible(self) -> "Experiment":
        self.trial_settings()
        return self


class Params(Section):
    """The whole of ``params.yaml``."""

    seed: Annotated[int, Field(ge=0)]
    experiments: dict[str, Experiment]


@cache
def load(path: str | Path = PARAMS) -> Params:
    """Reads and checks a parameter file, once in a process.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: naming the file and every key that is unknown, missing or of the wrong kind.
    """
    path = Path(path)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError:
        raise
    except Exception as error:  # of several kinds: PyYAML leaves some to what it calls
        raise ValueError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    try:
        return Params.model_validate(content)
    except ValidationError as error:
        raise ValueError(f"{path}: {_complaints(error)}") from error


def experiment(name: str, path: str | Path = PARAMS) -> Experiment:
    """Settings of one experiment.

    Raises:
        ValueError: naming the known experiments, if ``name`` is none of them.
    """
    experiments = load(path).experiments
    if name not in experiments:
        raise ValueError(f"{path}: no experiment {name!r}; there are {', '.join(experiments)}.")
    return experiments[name]


def _complaints(error: ValidationError) -> str:
    return "; ".join(
        ": ".join(filter(None, [".".join(map(str, e["loc"])), _reason(e)])) for e in error.errors()
    )


def _reason(error: dict) -> str:
    known = {"extra_forbidden": "unknown key", "missing": "missing"}
    if error["type"] == "value_error":  # of a check of our own, which says it all
        return str(error["ctx"]["error"])
    return known.get(error["type"]) or f"{error['msg']}, got {error['input']!r}"
