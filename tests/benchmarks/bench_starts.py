"""Time of a draw on one core: the diffusion against pyXtal, one draw of the same representations each.

The representations are of MP-20 binary & ternary's official test split where `data/` has it, else of the embedded
prototypes, as far as the diffusion knows them. Prints one JSON object, and writes it to
`figures/benchmarks/starts.json`. Takes a minute: python tests/benchmarks/bench_starts.py [runs/EXPERIMENT/diffusion]
"""

import os
import sys
from functools import partial

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import torch
from bench_relax import starts as drawn
from bench_relax import timed
from publish import publish
from tqdm import tqdm

from wyk.coordinates import diffusion
from wyk.coordinates.pyxtal_start import draw
from wyk.plumbing import paths

DRAWS = 200


def main() -> None:
    torch.set_num_threads(1)
    folder = sys.argv[1] if len(sys.argv) > 1 else paths.run("biternary_7k", "diffusion")
    model = diffusion.load(folder)
    known = [r for r, _ in drawn(DRAWS) if set(r.elements) <= set(model.elements)]
    ways = (partial(diffusion.draw, model, seeds=[[0]]), partial(draw, seed=[0]))
    for way in ways:
        way(known[0])  # tables are read
    seconds = np.array([[timed(way, r)[1] for way in ways] for r in tqdm(known, disable=None)])
    mean, median = seconds.mean(axis=0), np.median(seconds, axis=0)
    result = {
        "n": len(known),
        "steps": diffusion.STEPS,
        "candidates": diffusion.CANDIDATES,
        "seconds": round(mean[0], 4),
        "seconds_pyxtal": round(mean[1], 4),
        "seconds_median": round(median[0], 4),
        "seconds_pyxtal_median": round(median[1], 4),
        "ratio": round(mean[0] / mean[1], 2),
    }
    publish("starts", result)


if __name__ == "__main__":
    main()
