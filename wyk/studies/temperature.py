"""Samples of a model at several temperatures, judged: with formal masks, without them, and beside the test set."""

from collections.abc import Sequence

import pandas as pd
from tqdm import tqdm

from wyk import metrics
from wyk.common import mean, rate
from wyk.crystals import WyckoffRepresentation, from_table, space_group
from wyk.likelihood import divergence, likelihood
from wyk.model import Ensemble, WyckoffTransformer
from wyk.sampling import sample, sample_unconstrained

ORDERS = 5  # random orders of each structure, for its likelihood
COLUMNS = ["set", "temperature", "quantity", "value", "low", "high", "n"]


def sweep(
    model: WyckoffTransformer | Ensemble,
    temperatures: Sequence[float],
    n: int,
    test: pd.DataFrame,
    known: pd.DataFrame,
    seed: int = 0,
) -> pd.DataFrame:
    """What becomes of samples when the temperature changes.

    Args:
        model: a trained model, as `checkpoint.load` gives it.
        temperatures: of all heads, see `sampling.sample`.
        n: samples at each temperature, with formal masks and without.
        test: representations; the first n for likelihoods, all for the rest.
        known: training and validation, which are not novel.
        seed: of samples, orders and intervals.

    Returns:
        One row per set, temperature and quantity, with its 95% interval. The sets are `masked` and `unmasked`
        samples, and `test`. The quantities: `formal_validity` (of `unmasked` there is no other), `uniqueness`,
        `novelty` and `charge_neutrality_smact14` as in the block `raw` of metrics.json; `sites` and `atoms` of the
        primitive cell, means; `nll`, −log p under the model at temperature 1, averaged over orders;
        `permutation_kl` and `entropy` of the distribution at this temperature; `cross_entropy`, −log p of the test
        set under that distribution, averaged over orders.
    """
    known = from_table(known)
    real = from_table(test)
    neutral = rate([metrics.charge_neutral(r.formula) for r in real])
    rows = _rows("test", None, {"charge_neutrality_smact14": neutral} | _sizes(real, seed))
    for t in tqdm(temperatures, desc="temperatures", disable=None):
        samples = sample(model, n, temperature=t, seed=seed)
        at_1 = likelihood(model, samples, ORDERS, seed)
        own = at_1 if t == 1 else likelihood(model, samples, ORDERS, seed, temperature=t)
        of_test = likelihood(model, test.head(n), ORDERS, seed, temperature=t)
        of_test = of_test[of_test["reason"].isna()]
        likelihoods = {"nll": mean(-at_1["log_p_mean"], seed)} | divergence.divergence(own, seed)
        rows += _rows("masked", t, _judged(from_table(samples), known, seed) | likelihoods)
        valid, _ = sample_unconstrained(model, n, temperature=t, seed=seed)
        rows += _rows("unmasked", t, {"formal_validity": rate([True] * len(valid), n)})
        rows += _rows("test", t, {"cross_entropy": mean(-of_test["log_p_mean"], seed)})
    return pd.DataFrame(rows, columns=COLUMNS)


def _judged(
    samples: Sequence[WyckoffRepresentation], known: Sequence[WyckoffRepresentation], seed: int
) -> dict:
    rates, novel = metrics.sieve(samples, known)
    neutral = rate([metrics.charge_neutral(r.formula) for r in novel])
    return rates | {"charge_neutrality_smact14": neutral} | _sizes(samples, seed)


def _sizes(representations: Sequence[WyckoffRepresentation], seed: int) -> dict:
    atoms = [r.n_atoms // space_group(r.space_group).lattice_points for r in representations]
    return {
        "sites": mean([len(r.letters) for r in representations], seed),
        "atoms": mean(atoms, seed),
    }


def _rows(name: str, temperature: float | None, entries: dict) -> list[tuple]:
    return [
        (
            name,
            temperature,
            quantity,
            entry.value,
            *(entry.interval or (None, None)),
            entry.n,
        )
        for quantity, entry in entries.items()
    ]
