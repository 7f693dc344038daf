"""The authors' release, trained and measured; runs in its own environment, called by ../bench_peer.py.

    python theirs.py JOB.json RESULT.json

Everything that learns, judges or samples here is the release's own code: its tokeniser, network, trainer (one
optimiser step after another, without its validation passes), likelihood and generator. Only the clock, the
orders of the sites and the check of the likelihood are this file's.

The settings are those of the release's repository for "the MP-20 benchmark tables"
(`yamls/models/mp_20/der/uncond_adamw_wsd.yaml`, tokeniser `der_tokenizer_v1`), with three differences: the
number of steps follows from the seconds; nothing is compiled, since compiling would take a good part of them;
engineered fields that this network does not read are left out. `batch` null is that recipe, where every step
sees the whole training set; a number makes mini-batches of it.
"""

import json
import os
import random
import sys
import time
from importlib.metadata import version
from pathlib import Path

os.environ["WANDB_MODE"] = "disabled"
os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import pandas as pd
import torch
import wandb
import wyckoff_transformer.trainer
from omegaconf import OmegaConf
from wyckoff_transformer.cascade.model import CascadeTransformer
from wyckoff_transformer.evaluation.protocol import GeneFingerprinter
from wyckoff_transformer.gene_likelihood import SITE_FIELDS, representation_log_likelihood
from wyckoff_transformer.generator import WyckoffGenerator
from wyckoff_transformer.trainer import WyckoffTrainer
from wyckoff_transformer.wyckoff_processor import WyckoffProcessor

CHECKED = 200  # structures
CALIBRATION = 0.1  # of the seconds, spent beforehand to learn how long an epoch takes

TOKENISER = {
    "name": "der_tokenizer_v1",
    "dtype": "int16",
    "token_fields": {"pure_categorical": ["site_symmetries", "elements", "sites_enumeration"]},
    "augmented_token_fields": ["sites_enumeration", "site_symmetries"],
    "sequence_fields": {"space_group": ["spacegroup_number"]},
}
CASCADE = {
    "order": ["elements", "site_symmetries", "sites_enumeration"],
    "augmented": ["site_symmetries", "sites_enumeration"],
    "is_target": {"elements": True, "site_symmetries": True, "sites_enumeration": True},
    "embedding_size": {"elements": 16, "site_symmetries": 16, "sites_enumeration": 8},
}
NETWORK = {
    "start_type": "one_hot",
    "perceptron_shape": "pyramid",
    "concat_token_counts": False,
    "concat_token_presence": True,
    "aggregate_after_encoder": False,
    "mixer_layers": 1,
    "token_aggregation": None,
    "include_start_in_aggregation": False,
    "aggregation_inclsion": None,  # the release's spelling
    "outputs": "token_scores",
    "num_fully_connected_layers": 3,
    "learned_positional_encoding_max_size": 0,
    "learned_positional_encoding_only_masked": True,
    "TransformerEncoderLayer_args": {"nhead": 4, "dim_feedforward": 128, "dropout": 0.2},
    "TransformerEncoder_args": {"num_layers": 3, "enable_nested_tensor": False},
}
OPTIMISATION = {
    "optimiser": {
        "name": "AdamW",
        "config": {"lr": 0.003, "weight_decay": 0.01, "betas": [0.9, 0.999]},
    },
    "scheduler": {
        "module": "wyckoff_transformer.schedules",
        "name": "warmup_stable_decay",
        "config": {
            "warmup_fraction": 0.002,
            "decay_fraction": 0.2,
            "final_lr_fraction": 0.0,
            "decay_shape": "1-sqrt",
        },
    },
    "validation_period": 1000,
    "early_stopping_patience_epochs": 100_000_000,
    "clip_grad_norm": 10.0,
}


def records(genes: dict[str, list[dict]]) -> dict[str, pd.DataFrame]:
    """The release's table of each split, made of genes by its own reader."""
    reader = GeneFingerprinter()
    return {
        split: pd.DataFrame.from_records([reader.record(gene) for gene in rows])
        for split, rows in genes.items()
    }


def trainer_of(processor, tensors: dict, job: dict, epochs: int) -> WyckoffTrainer:
    """A new trainer, its weights drawn from the seed of the job."""
    torch.manual_seed(job["seed"])
    random.seed(job["seed"])
    model = {"start_token": "spacegroup_number", "cascade": CASCADE}
    config = OmegaConf.create({"model": model | {"CascadeTransformer_args": NETWORK}})
    cpu = torch.device("cpu")
    return WyckoffTrainer(
        CascadeTransformer.from_config_and_tokenisers(config, processor.tokenisers, cpu),
        tensors["train"],
        tensors["val"],
        processor.tokenisers,
        processor.token_engineers,
        tuple(CASCADE["order"]),
        CASCADE["is_target"],
        CASCADE["augmented"],
        "spacegroup_number",
        torch.float32,
        target="NextToken",
        evaluation_samples=1,
        multiclass_next_token_with_order_permutation=True,
        optimisation_config=OmegaConf.create(OPTIMISATION | {"epochs": epochs}),
        device=cpu,
        train_batch_size=job["batch"],
        processor=processor,
        tokeniser_config=OmegaConf.create(TOKENISER),
    )


def epochs_for(trainer: WyckoffTrainer, seconds: float) -> int:
    """How many epochs of a trainer fit the seconds, by running some."""
    trainer.train_epoch()  # the first is slower
    start, epochs = time.process_time(), 0
    while time.process_time() - start < CALIBRATION * seconds:
        trainer.train_epoch()
        epochs += 1
    return max(1, round(seconds * epochs / (time.process_time() - start)))


def log_p(trainer: WyckoffTrainer, table: pd.DataFrame, orders: int, seed: int) -> np.ndarray:
    """log p of each row in random orders of its sites, (rows, orders), nats.

    The release's `representation_log_likelihood` is log p(element) + log p(symmetry | element) +
    log p(enumeration | both) summed over the sites, plus log p(STOP), given the space group. Its
    `score_gene_likelihood` is another quantity: it draws equivalent descriptions, and adds log p(space group)
    and the logarithm of their number.
    """
    rng = np.random.default_rng(seed)
    plain = table.drop(columns=[name for name in table if name.endswith("_augmented")])
    columns = []
    for _ in range(orders):
        order = [rng.permutation(len(sites)) for sites in plain["elements"]]
        shuffled = plain.copy()
        for field in SITE_FIELDS:
            shuffled[field] = [
                [sites[i] for i in places]
                for sites, places in zip(plain[field], order, strict=True)
            ]
        columns.append(representation_log_likelihood(trainer, shuffled).numpy())
    return np.stack(columns, 1)


@torch.no_grad()
def check_likelihood(trainer: WyckoffTrainer, table: pd.DataFrame) -> dict[str, float]:
    """The network's probabilities of a first site, enumerated outright, in the commonest group.

    Returns:
        `total`: p(STOP) and p(element) p(symmetry | element) p(enumeration | both) over the whole vocabulary,
        which must be 1; `service_tokens`: the part of it on MASK, STOP and PAD where a site should be;
        `difference`: the largest, in nats, between these numbers times p(STOP) after the site, and `log_p`,
        over `rows` structures of this group cut down to one site.
    """
    trainer.model.eval()
    tokens = trainer.tokenisers
    fields = CASCADE["order"]
    group = table["spacegroup_number"].mode().iloc[0]
    single = table.loc[table["spacegroup_number"] == group, ["spacegroup_number", *SITE_FIELDS]]
    single = single.assign(**{field: single[field].str[:1] for field in SITE_FIELDS})
    single = single.head(CHECKED).reset_index(drop=True)
    start = tokens["spacegroup_number"].encode_spacegroups([group], dtype=torch.float32)
    masks = [tokens[field].mask_token for field in fields]
    elements, symmetries, enumerations = (len(tokens[field]) for field in fields)

    def predict(head: int, *known: torch.Tensor) -> torch.Tensor:
        rows = len(known[0]) if known else 1
        cascade = [*known, *(torch.full((rows,), mask) for mask in masks[len(known) :])]
        inputs = [field[:, None] for field in cascade]
        return trainer.model(start.expand(rows, -1), inputs, None, head).double().softmax(-1)

    element = predict(0)[0]
    symmetry = predict(1, torch.arange(elements))
    known = torch.cartesian_prod(torch.arange(elements), torch.arange(symmetries))
    enumeration = predict(2, *known.T).view(elements, symmetries, enumerations)
    joint = element[:, None, None] * symmetry[:, :, None] * enumeration
    stop = tokens["elements"].stop_token
    sites = joint.clone()
    sites[stop] = 0
    real = sites
    for axis, field in enumerate(fields):
        service = {tokens[field].mask_token, tokens[field].stop_token, tokens[field].pad_token}
        keep = torch.tensor([i for i in range(real.shape[axis]) if i not in service])
        real = real.index_select(axis, keep)

    places = torch.tensor(
        [[tokens[field][row[field][0]] for field in fields] for _, row in single.iterrows()]
    )
    inputs = [
        torch.stack([places[:, i], torch.full((len(places),), mask)], 1)
        for i, mask in enumerate(masks)
    ]
    after = trainer.model(start.expand(len(places), -1), inputs, None, 0).double().softmax(-1)
    direct = (joint[tuple(places.T)] * after[:, stop]).log().numpy()
    difference = np.abs(direct - log_p(trainer, single, 1, 0)[:, 0]).max()
    return {
        "total": float(sites.sum() + element[stop]),
        "service_tokens": float(sites.sum() - real.sum()),
        "difference": float(difference),
        "rows": len(single),
    }


def sample(trainer: WyckoffTrainer, n: int) -> dict:
    """Samples, and the processor seconds of the network alone and of the release's whole call."""
    start = time.process_time()
    generator = WyckoffGenerator(
        trainer.model,
        trainer.cascade_order,
        trainer.cascade_is_target,
        trainer.token_engineers,
        trainer.masks_dict,
        trainer.max_sequence_length,
        stops=trainer.stops_dict,
    )
    generator.generate_tensors(trainer._sample_start_tokens_from_distribution(n))
    network = time.process_time() - start
    start = time.process_time()
    genes = trainer.generate_structures(n, calibrate=False)
    return {
        "genes": genes,
        "seconds_sampling": network,
        "seconds_all": time.process_time() - start,
    }


def main(job_path: str, result_path: str) -> None:
    torch.set_num_threads(1)
    wyckoff_transformer.trainer.trange = lambda steps, **_: range(steps)  # a bar per epoch
    wandb.init(mode="disabled")
    job = json.loads(Path(job_path).read_text())
    tables = records(json.loads(Path(job["genes"]).read_text()))
    processor = WyckoffProcessor(config=TOKENISER)
    tensors, _, _ = processor.tokenise_dataset(tables, n_jobs=1)
    print("tokenised", file=sys.stderr)

    epochs = epochs_for(trainer_of(processor, tensors, job, 1_000_000), job["seconds"])
    print(f"training for {epochs} epochs", file=sys.stderr)
    trainer = trainer_of(processor, tensors, job, epochs)
    clock, start = time.monotonic(), time.process_time()
    for _ in range(epochs):
        trainer.train_epoch()
    seconds, wall = time.process_time() - start, time.monotonic() - clock
    print(f"trained for {seconds:.1f} s; likelihoods", file=sys.stderr)

    held_out = {split: log_p(trainer, tables[split], job["orders"], 1) for split in ("val", "test")}
    torch.manual_seed(job["seed"])
    result = {
        "version": version("wyckoff-transformer"),
        "torch": torch.__version__,
        "weights": sum(p.numel() for p in trainer.model.parameters()),
        "epochs": epochs,
        "steps": epochs * trainer.train_loader.batches_per_epoch,
        "seconds": seconds,
        "seconds_wall": wall,
        "nll": {split: (-values.mean(1)).tolist() for split, values in held_out.items()},
        "check": check_likelihood(trainer, tables["test"]),
        "sites": {
            split: [
                list(zip(row.site_symmetries, row.sites_enumeration, strict=True))
                for row in table.itertuples()
            ]
            for split, table in tables.items()
        },
    }
    print("samples", file=sys.stderr)
    result |= sample(trainer, job["samples"])
    temporary = Path(result_path + ".part")
    temporary.write_text(json.dumps(result))
    temporary.replace(result_path)


if __name__ == "__main__":
    main(*sys.argv[1:])
