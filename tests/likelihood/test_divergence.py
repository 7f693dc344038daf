"""Sums of likelihoods, counted by hand."""

import json

import numpy as np
import pandas as pd
import pytest

from wyk.common.estimates import Estimate
from wyk.likelihood import divergence
from wyk.plots import of_likelihood


def likelihoods(**changes) -> pd.DataFrame:
    """Two samples of two sites and one of three: KL 0.5 and 2, entropy 10 and 16, σ over orders 0.2 and 0.5."""
    columns = {
        "n_sites": [2, 2, 3],
        "log_p": [-9.0, -11, -16],
        "log_p_mean": [-10.0, -11, -18],
        "log_p_std": [0.1, 0.3, 0.5],
        "expected": [10.0, 10, 15],
        "expected_mean": [9.0, 10, 17],
        "uniform": [27.0, 27, 38],
        "reason": [None, None, None],
    }
    return pd.DataFrame(columns | changes)


@pytest.fixture
def block():
    names = ("test", "test_unconstrained", "train", "generated_T1", "generated_T100")
    summary = divergence.summary({name: likelihoods() for name in names})
    return json.loads(json.dumps(summary, default=Estimate.entry))


def test_by_the_number_of_sites():
    table = divergence.by_sites(likelihoods()).set_index("n_sites")
    assert table["n"].tolist() == [2, 1]
    assert table["permutation_kl"].tolist() == pytest.approx([0.5, 2])
    assert table["entropy"].tolist() == pytest.approx([10, 16])
    assert table["sigma_permutation"].tolist() == pytest.approx([0.2, 0.5])
    # of two samples, half the resamples have one of them twice
    assert table.loc[2, ["entropy_low", "entropy_high"]].tolist() == pytest.approx([9, 11], abs=0.1)
    assert np.isnan(table.loc[3, "entropy_low"])  # of a single sample nothing is known


def test_the_whole_is_the_mean_of_its_parts(block):
    table = divergence.by_sites(likelihoods())
    for quantity in ("permutation_kl", "entropy"):
        whole = (table[quantity] * table["n"]).sum() / table["n"].sum()
        assert block[quantity]["value"] == pytest.approx(whole)


def test_a_histogram_loses_nobody():
    far = likelihoods(log_p_mean=[-1e-3, -20.0, -1e4])
    sets = {"test": likelihoods(), "train": likelihoods(), "generated_T1": far}
    table = divergence.histogram(sets)
    assert (table["to"].iloc[:-1].to_numpy() == table["from"].iloc[1:].to_numpy()).all()
    for name in sets:
        assert table[name].sum() == pytest.approx(1)
    inside = table[(table["from"] <= 20) & (table["to"] > 20)]
    assert inside["generated_T1"].item() == pytest.approx(1 / 3)
    assert table["generated_T1"].iloc[[0, -1]].tolist() == pytest.approx([1 / 3, 1 / 3])


def test_tables_stand_beside_the_paper(block):
    table = divergence.table_2(block)
    assert table.loc["test", "−E log p"].startswith("13.0 (")
    assert table.loc["test", "−E log p, paper"] == "93"
    assert table.loc["generated, T = 100", "E σ over orders, paper"] == "16.8"
    assert "generated, T = 0.01" not in table.index  # there is none
    table = divergence.invariance(block)
    assert table.loc["KL, formula (3)", "here"].startswith("1.00 (")
    assert table.loc["KL / H"].tolist() == ["0.083", "0.105"]
    table = divergence.calibration(block)
    assert table.loc["test", "expected by the model"].startswith("12.0 (")
    own = table.loc["generated, T = 1"]  # in the order they were drawn in
    assert own["−E log p"].startswith("12.0 (")
    assert own["expected by the model"].startswith("11.7 (")


def test_bad_tables_are_refused(tmp_path):
    with pytest.raises(ValueError, match="likelihoods of train are not all finite"):
        divergence.summary({"train": likelihoods(log_p=[-np.inf, -1.0, -2.0])})
    with pytest.raises(ValueError, match="likelihoods of test lack uniform"):
        divergence.summary({"test": likelihoods().drop(columns="uniform")})
    with pytest.raises(FileNotFoundError, match="holds no Parquet"):
        divergence.load(tmp_path)


def test_rows_without_likelihood_do_not_count(tmp_path):
    table = likelihoods(reason=[None, "odd", None])
    table.loc[1, ["log_p", "log_p_mean"]] = np.nan
    table.to_parquet(tmp_path / "test.parquet")
    loaded = divergence.load(tmp_path)
    assert len(loaded["test"]) == 2
    assert divergence.summary(loaded)["test"]["nll"].value == pytest.approx(14)


def test_figures_show_the_numbers():
    own = pd.concat(3 * [likelihoods()])
    axes = of_likelihood.by_sites(divergence.by_sites(own)).axes[0]
    drawn = {line.get_label(): line.get_ydata() for line in axes.get_lines()}
    assert drawn["KL, paper: 2.0"][0] == 2
    points = [line.get_xydata() for line in axes.get_lines() if len(line.get_xdata()) == 1]
    assert points[0].tolist() == [[2, 0.5]]  # three samples of three sites are too few
