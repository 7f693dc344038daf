"""Our model, trained and measured; called by ../bench_peer.py, in a process of its own as the release is.

python ours.py JOB.json RESULT.json
"""

import json
import shutil
import sys
import time
from pathlib import Path

import genes
import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

from wyk import __version__
from wyk.crystals.tables import from_table, read_representations
from wyk.likelihood import sequences as likelihood
from wyk.model import checkpoint
from wyk.plumbing import params, paths
from wyk.sampling import samples as sampling
from wyk.training import members as training


def main(job_path: str, result_path: str) -> None:
    job = json.loads(Path(job_path).read_text())
    name = job["experiment"]
    settings = params.experiment(name).changed(job["changes"])
    rows = paths.run(name, "represent")
    test = read_representations(rows / "test.parquet")
    params.experiment = lambda _: settings
    paths.RUNS = Path(result_path).with_suffix("")  # away from the experiment's own results
    shutil.rmtree(paths.RUNS, ignore_errors=True)
    shutil.copytree(rows, paths.run(name, "represent"))

    steps = []
    counting = register_optimizer_step_post_hook(lambda *_: steps.append(1))
    clock, start = time.monotonic(), time.process_time()
    training.train(name)
    seconds, wall = time.process_time() - start, time.monotonic() - clock
    counting.remove()
    print(f"trained for {seconds:.1f} s; likelihoods", file=sys.stderr)

    model = checkpoint.load(paths.run(name, "train"))
    log_p = likelihood.likelihood(model, test, job["orders"], job["seed"])["log_p_mean"]
    print("samples", file=sys.stderr)
    start = time.process_time()
    samples = sampling.sample(model, job["samples"], seed=job["seed"])
    sampled = time.process_time() - start
    result = {
        "version": __version__,
        "torch": torch.__version__,
        "weights": sum(p.numel() for p in model.parameters()),
        "epochs": settings.train.epochs,
        "steps": len(steps),
        "seconds": seconds,
        "seconds_wall": wall,
        "nll": (-log_p).tolist(),
        "genes": [genes.to_gene(r) for r in from_table(samples)],
        "seconds_sampling": sampled,
    }
    with paths.writing(result_path) as temporary:
        temporary.write_text(json.dumps(result))


if __name__ == "__main__":
    main(*sys.argv[1:])
