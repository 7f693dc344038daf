"""Likelihoods summed up: Table 2 of the paper, and the divergence and entropy of its Appendix D, beside its numbers."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from wyk.common import Estimate, bootstrap, mean

COLUMNS = ["log_p", "log_p_mean", "log_p_std", "expected", "expected_mean", "uniform"]
RANGE, BINS = (3.0, 200.0), 30  # of −log p, nats
OWN = "generated_T1"  # the model's own samples, which formulas (3) and (4) are over

SETS = {
    "generated_T100": "generated, T = 100",
    "test": "test",
    "test_unconstrained": "test, without formal masks",
    "train": "train",
    "generated_T1": "generated, T = 1",
    "generated_T0.01": "generated, T = 0.01",
}
# Table 2: −E log p, σ of log p over the data set, σ over orders; nats.
TABLE_2 = {
    "generated_T100": (499, 373.6, 16.8),
    "test": (93.0, 49.2, 5.4),
    "test_unconstrained": (93.0, 49.2, 5.4),  # the paper has no formal masks
    "train": (92.8, 48.3, 5.5),
    "generated_T1": (17.0, 6.2, 1.5),
    "generated_T0.01": (12.9, 6.9, 1.5),
}
PAPER = {"permutation_kl": 2.0, "entropy": 19.0, "sigma_permutation": 1.5}  # over own samples, nats


def load(folder: str | Path) -> dict[str, pd.DataFrame]:
    """The tables of `wyk likelihood` in a folder by the name of their set, rows without likelihood left out.

    Raises:
        FileNotFoundError: if there is none.
    """
    tables = {path.stem: pd.read_parquet(path) for path in sorted(Path(folder).glob("*.parquet"))}
    if not tables:
        raise FileNotFoundError(f"{folder} holds no Parquet of `wyk likelihood`")
    return {name: table[table["reason"].isna()] for name, table in tables.items()}


def summary(tables: dict[str, pd.DataFrame], seed: int = 0) -> dict:
    """Table 2 and the divergence of Appendix D, in nats.

    Args:
        tables: name → table of `likelihood.likelihood`, rows without likelihood left out. The set `generated_T1`
            gives `permutation_kl` (eq. 3) and `entropy` (eq. 4) as well, and `entropy_expected`: the mean of
            what the model expected in the order it drew, another estimate of the entropy.
        seed: of the bootstrap.

    Returns:
        For each name entries `nll` (mean of −log p, averaged over orders), `nll_std` (its standard deviation over
        structures), `sigma_permutation` (mean over structures of the standard deviation over orders), `expected`
        (what the model itself expected −log p to be, on the same way) and `uniform` (−log p if every class of
        every head were equally likely).

    Raises:
        ValueError: if a column is missing, or a log-likelihood is not finite.
    """
    for name, table in tables.items():
        if missing := set(COLUMNS) - set(table):
            raise ValueError(f"likelihoods of {name} lack {', '.join(sorted(missing))}: do again")
        if not np.isfinite(table[COLUMNS].to_numpy(float)).all():
            raise ValueError(f"likelihoods of {name} are not all finite")
    result = {
        name: {
            "nll": mean(-table["log_p_mean"], seed),
            "nll_std": _deviation(table["log_p_mean"], seed),
            "sigma_permutation": mean(table["log_p_std"], seed),
            "expected": mean(table["expected_mean"], seed),
            "uniform": mean(table["uniform"], seed),
        }
        for name, table in tables.items()
    }
    if OWN in tables:
        result |= divergence(tables[OWN], seed)
        result["entropy_expected"] = mean(tables[OWN]["expected"], seed)
    return result


def divergence(own: pd.DataFrame, seed: int = 0) -> dict[str, Estimate]:
    """`permutation_kl`, formula (3), and `entropy`, formula (4), of samples in the order they were drawn in, nats.

    They are of the distribution that drew the samples if the likelihoods are at its temperature.
    """
    return {
        "permutation_kl": mean(own["log_p"] - own["log_p_mean"], seed),
        "entropy": mean(-own["log_p"], seed),
    }


def by_sites(own: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """The same by the number of sites, one row each: value and 95% interval of each quantity, nats.

    A set has as many sites in any order, so the divergence is one within each number of sites, too.
    """
    rows = []
    for n_sites, part in own.groupby("n_sites"):
        entries = divergence(part, seed) | {"sigma_permutation": mean(part["log_p_std"], seed)}
        row = {"n_sites": n_sites, "n": len(part)}
        for name, entry in entries.items():
            entry = entry if len(part) > 1 else replace(entry, interval=(np.nan, np.nan))
            row |= entry.columns(name)
        rows.append(row)
    return pd.DataFrame(rows)


def histogram(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Share of the structures of real crystals and own samples whose −log p lies between two values, nats.

    Returns:
        One row per bin, equally wide in log(−log p): `from`, `to`, and the share of each set; what lies outside
        all bins counts for the first or the last.
    """
    edges = np.geomspace(*RANGE, BINS + 1)
    shares = {}
    for name in ("test", "train", OWN):
        values = (-tables[name]["log_p_mean"]).clip(edges[0], edges[-1])
        shares[name] = np.histogram(values, edges)[0] / len(values)
    return pd.DataFrame({"from": edges[:-1], "to": edges[1:]} | shares)


def table_2(block: dict) -> pd.DataFrame:
    """Table 2 with the paper's numbers: one row per set, the block `likelihood` of metrics.json as it is read."""
    names = [name for name in SETS if name in block]
    columns = {"n": [block[name]["nll"]["n"] for name in names]}
    for i, (quantity, label) in enumerate(
        (("nll", "−E log p"), ("nll_std", "σ log p"), ("sigma_permutation", "E σ over orders"))
    ):
        columns[label] = [_shown(block[name][quantity]) for name in names]
        columns[f"{label}, paper"] = [f"{TABLE_2[name][i]:g}" for name in names]
    return pd.DataFrame(columns, index=[SETS[name] for name in names])


def invariance(block: dict) -> pd.DataFrame:
    """The numbers in the text of Appendix D, over own samples at T = 1, beside the paper's."""
    kl, entropy, own = block["permutation_kl"], block["entropy"], block[OWN]
    sigma, std = own["sigma_permutation"], own["nll_std"]
    share, ratio = kl["value"] / entropy["value"], std["value"] / sigma["value"]
    rows = {
        "KL, formula (3)": (_shown(kl), "2.0"),
        "H, formula (4)": (_shown(entropy), "19.0"),
        "KL / H": (f"{share:.3f}", f"{2.0 / 19.0:.3f}"),
        "−E log p over random orders": (_shown(own["nll"]), "17.0"),
        "E σ over orders": (_shown(sigma), "1.5"),
        "σ over samples / E σ over orders": (f"{ratio:.1f}", f"{6.2 / 1.5:.1f}"),
    }
    return pd.DataFrame.from_dict(rows, orient="index", columns=["here", "paper"])


def calibration(block: dict) -> pd.DataFrame:
    """What real crystals and own samples cost, what the model expected them to cost, and knowing nothing costs, nats.

    Real crystals have no order, so theirs are random ones; own samples have the order they were drawn in.
    """
    names = [name for name in ("test", "test_unconstrained", "train") if name in block]
    costs = [(block[name]["nll"], block[name]["expected"]) for name in names]
    costs.append((block["entropy"], block["entropy_expected"]))
    names.append(OWN)
    return pd.DataFrame(
        {
            "−E log p": [_shown(cost) for cost, _ in costs],
            "expected by the model": [_shown(expected) for _, expected in costs],
            "all classes equally likely": [_shown(block[name]["uniform"]) for name in names],
            "−E log p, paper": [f"{TABLE_2[name][0]:g}" for name in names],
        },
        index=[SETS[name] for name in names],
    )


def _shown(entry: dict) -> str:
    """A value with its 95% interval, two decimals below 10."""
    return Estimate.of(entry).text(".2f" if abs(entry["value"]) < 10 else ".1f")


def _deviation(values: pd.Series, seed: int) -> Estimate:
    centred = values.to_numpy() - values.mean()
    moments = np.stack([centred, centred**2], axis=1)
    return bootstrap(moments, lambda m: np.sqrt(m[..., 1] - m[..., 0] ** 2), seed)
