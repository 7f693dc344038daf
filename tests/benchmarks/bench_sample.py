"""Samples per second of one core, against a plain loop over the same model: every structure encoded, every question
asked, all logits drawn from with noise, and the table made from objects.

The model is that of `biternary_7k` where it was trained or pulled, else that of `quick`. Prints one JSON object, and
writes it to `figures/benchmarks/sample.json`.
"""

import os
import time

os.environ["OMP_NUM_THREADS"] = "1"

import torch
from publish import publish

from wyk.common import weights
from wyk.crystals.tables import from_table, to_table
from wyk.model import checkpoint
from wyk.model.tokenization import decode
from wyk.model.transformer import most_sites
from wyk.plumbing import paths
from wyk.sampling import samples as sampling

N, BATCH, REPEATS = 10_000, 2048, 3


@torch.no_grad()
def plain(model, n: int, seed: int):
    """What `sampling.sample` returns without conditions, by the shortest code."""
    torch.manual_seed(seed)
    counts = {int(g): float(count) for g, count in model.config["space_group_counts"].items()}
    drawn = torch.multinomial(torch.tensor(list(counts.values())), n, replacement=True)
    samples = []
    for group in torch.tensor(list(counts))[drawn].split(BATCH):
        elements, positions = torch.full((2, len(group), most_sites(model)), -1)
        active = torch.arange(len(group))
        for site in range(elements.shape[1]):
            known = slice(max(site, 1))
            context = model.encode(group[active], elements[active, known], positions[active, known])
            element = draw(model.element_logits(context))
            row = (element < len(model.elements)).nonzero().ravel()
            if not len(row):
                break
            active, element = active[row], element[row]
            symmetry = draw(model.symmetry_logits(context, row, element))
            enumeration = draw(model.enumeration_logits(context, row, element, symmetry))
            elements[active, site] = element
            positions[active, site] = model.lookup[group[active], symmetry, enumeration]
        samples += decode(group, elements, positions, model.elements)
    return to_table(samples)


def draw(logits: torch.Tensor) -> torch.Tensor:
    """One class of each row by the Gumbel trick: log p + noise, the largest wins."""
    return (logits - torch.empty_like(logits).exponential_().log()).argmax(-1)


def seconds(function, model) -> float:
    """Processor time of N samples, s, the best of some; what else runs on the machine counts for little."""
    function(model, 1000, seed=0)
    times = []
    for seed in range(REPEATS):
        start = time.process_time()
        table = function(model, N, seed=seed)
        times.append(time.process_time() - start)
        assert all(r.invalidity() is None for r in from_table(table))
    return min(times)


def trained() -> str:
    """The experiment whose model there is."""
    there = (paths.run("biternary_7k", "train") / weights.WEIGHTS).is_file()
    return "biternary_7k" if there else "quick"


def main() -> None:
    experiment = trained()
    model = checkpoint.load(paths.run(experiment, "train"))
    ours, theirs = seconds(sampling.sample, model), seconds(plain, model)
    result = {
        "model": experiment,
        "n": N,
        "samples_per_second": round(N / ours),
        "samples_per_second_plain": round(N / theirs),
        "ratio": round(theirs / ours, 2),
    }
    publish("sample", result)


if __name__ == "__main__":
    main()
