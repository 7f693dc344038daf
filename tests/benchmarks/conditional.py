"""Samples under conditions beside free samples that happen to fulfil them: do both come from one distribution?

Free samples are drawn until enough fulfil the condition; a sample is given up as soon as it holds what no condition
allows, which changes nothing but the time. Completion is compared with the model's exact probabilities of all
completions of a few sites, because free samples hardly ever hold given sites. "Forced" is the negative control, the
sampler of the first edition: STOP is forbidden until the condition holds, and no sample has a weight.

Prints one JSON object and writes it to `figures/benchmarks/conditional.json`. Takes about an hour of a core.
"""

import os
import sys
import time

os.environ["OMP_NUM_THREADS"] = "1"

import torch
from publish import publish
from torch import Tensor
from two_samples import compare

from wyk.crystals.representation import WyckoffRepresentation
from wyk.crystals.spacegroups import space_group
from wyk.crystals.tables import from_table, to_table
from wyk.likelihood.sets import set_log_p
from wyk.model import checkpoint
from wyk.model.tokenization import decode, encode
from wyk.model.transformer import most_sites
from wyk.plumbing import paths
from wyk.sampling import samples as sampling
from wyk.sampling.conditions import Conditions
from wyk.sampling.outlook import obstacles
from wyk.sampling.particles import Run
from wyk.sampling.populations import Population
from wyk.sampling.starts import from_groups

N, MOST_FREE = 2000, 30_000_000
N_FORCED = 200  # their many sites take their time
LEVEL = 0.01  # of all comparisons together
RUTILE = WyckoffRepresentation(136, ("Ti", "O"), ("a", "f"))
CONDITIONS = {
    "Li": {"required": ["Li"]},
    "O": {"required": ["O"]},
    "Fe and O": {"required": ["Fe", "O"]},
    "Li-O": {"elements": ["Li", "O"], "required": ["Li", "O"]},
    "Ti-O": {"elements": ["Ti", "O"], "required": ["Ti", "O"]},
    "Li-Fe-O": {"elements": ["Li", "Fe", "O"], "required": ["Li", "Fe", "O"]},
    "225, 227 with O": {"space_groups": [225, 227], "required": ["O"]},
    "up to 20 atoms, with O": {"atoms": (1, 20), "required": ["O"]},
    "no Pb, up to 3 elements": {"excluded": ["Pb"], "n_elements": (1, 3)},
    "ABX3": {"formula": "ABX3"},
    "TiO2": {"formula": "TiO2"},
    "LiFeO2": {"formula": "LiFeO2"},
}


class Forced(Run):
    """The first edition: whatever comes first, STOP when it is allowed, and no weights."""

    def _forced(self, alive: Population, step: int) -> Tensor:
        return torch.full((len(alive),), -1)

    def _renewed(self, alive, state, forced, done, size):
        possible = alive.weight > -torch.inf
        return alive[possible], state[possible]


def forced(
    model, n: int, seed: int, space_groups=None, **conditions
) -> list[WyckoffRepresentation]:
    """Samples of the first edition, in which the last site that may come is one that is required."""
    wanted = Conditions.of(model, **{"sites": (1, most_sites(model))} | conditions)
    starts, prior = from_groups(model, space_groups)
    prior[list(obstacles(model, starts, wanted))] = 0
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.multinomial(prior, n, True, generator=generator)
    starts = type(starts)(
        tuple(starts.names[i] for i in chosen),
        starts.space_group[chosen],
        *(torch.full((n, 0), -1) for _ in range(2)),
    )
    run = Forced(model, starts, torch.zeros(n, dtype=torch.long), 1.0, wanted, generator)
    found = run.population(torch.ones(n), n)
    return decode(found.group, found.elements, found.positions, model.elements)


def completions(model, given: WyckoffRepresentation, element: str, seed: int):
    """All completions of two given sites with an element and at most one site more, and their probabilities."""
    group, sites = (
        space_group(given.space_group),
        list(zip(given.elements, given.letters, strict=True)),
    )

    def extended(rows: set, elements) -> set:
        found = set()
        for row in rows:
            for position in group.positions:
                if position.dof or position.letter not in [w for _, w in row]:
                    found |= {tuple(sorted((*row, (e, position.letter)))) for e in elements}
        return found

    with_it = extended({tuple(sites)}, [element])
    rows = sorted(with_it | extended(with_it, model.elements))
    all_of_them = [
        WyckoffRepresentation(given.space_group, *zip(*row, strict=True)) for row in rows
    ]
    _, log, exact = set_log_p(model, encode(all_of_them, model.elements), True, seed)
    assert exact.all()
    return all_of_them, log.softmax(0)


def main() -> None:
    model = checkpoint.load(paths.run("biternary_7k", "train"))
    names = sys.argv[1:] or [*CONDITIONS, "rutile with Li"]
    sampling.sample(model, 1000)
    result, p_values = {}, []
    start = time.process_time()
    sampling.sample(model, 10_000, seed=1)
    free_rate = 10_000 / (time.process_time() - start)
    for name in names:
        start = time.process_time()
        if name in CONDITIONS:
            ours = from_table(sampling.sample(model, N, seed=1, **CONDITIONS[name]))
            seconds = time.process_time() - start
            rows, share = sampling.free_that_fulfil(model, N, 2, MOST_FREE, **CONDITIONS[name])
            theirs = from_table(rows)
            entry = {"share_of_free": share, "reference": "free samples"}
            control = forced(model, N_FORCED, 3, **CONDITIONS[name])
            control = compare(control, theirs, model)
        else:
            rows = sampling.sample(
                model, 2 * N, seed=1, given=to_table([RUTILE]), required=["Li"], sites=(3, 4)
            )
            seconds = (time.process_time() - start) / 2
            ours = from_table(rows)[:N]
            rows, p = completions(model, RUTILE, "Li", 2)
            chosen = torch.multinomial(p, N, True, generator=torch.Generator().manual_seed(2))
            theirs, control = [rows[i] for i in chosen.tolist()], None
            entry = {"reference": f"exact probabilities of {len(rows):,} completions"}
        tests = compare(ours, theirs, model)
        p_values += [test["p"] for test in tests.values()]
        entry |= {
            "n": len(ours),
            "n_reference": len(theirs),
            "per_second": N / seconds,
            "of_free": N / seconds / free_rate,
            "tests": tests,
        }
        if control:
            entry |= {"n_forced": N_FORCED, "forced": control}
        result[name] = entry
        low = min(tests, key=lambda test: tests[test]["p"])
        print(
            name, len(theirs), f"{entry['per_second']:.0f}/s", low, tests[low]["p"], file=sys.stderr
        )
        if control:
            print("   forced:", min(test["p"] for test in control.values()), file=sys.stderr)
    publish(
        "conditional",
        {
            "model": "biternary_7k",
            "free_per_second": free_rate,
            "level": LEVEL,
            "least_p": LEVEL / len(p_values),
            "failed": sum(p < LEVEL / len(p_values) for p in p_values),
            "conditions": result,
        },
    )


if __name__ == "__main__":
    main()
