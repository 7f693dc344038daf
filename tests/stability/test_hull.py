"""The hull against pymatgen's, against a case done by hand, and against tables that are not ours."""

import gzip
import json
import math

import pandas as pd
import pytest
from pymatgen.analysis.phase_diagram import PDEntry, PhaseDiagram
from pymatgen.core import Composition

from wyk.stability import reference_energies as energies
from wyk.stability.hull import ELEMENTS, REFERENCE, TABLE, Hull


def table(**energies: float) -> pd.DataFrame:
    rows = [("hand", f"id-{f}", f, 2, energy) for f, energy in energies.items()]
    return pd.DataFrame(
        rows, columns=["source", "material_id", "formula", "n_atoms", "energy_per_atom"]
    )


BY_HAND = Hull(table(NaCl=-4.0, Na3Cl=-2.4), {"Na": -1.0, "Cl": -2.0, "K": -1.0})


@pytest.mark.parametrize(
    ("formula", "energy", "above"),
    [
        ("NaCl", -4.0, 0.0),
        ("Na2Cl2", -4.5, -0.5),  # a candidate below the hull stays below
        ("NaCl3", -3.0, 0.0),  # half way between NaCl and Cl
        ("Na3Cl", -2.4, 0.1),  # a reference above the hull: half way between Na and NaCl is -2.5
        ("Na", -1.0, 0.0),
        ("KCl", -1.0, 0.5),  # no entry: the elements alone
    ],
)
def test_by_hand(formula, energy, above):
    assert BY_HAND.e_above_hull(Composition(formula), energy) == pytest.approx(above, abs=1e-9)


def test_coverage_is_of_the_whole_chemical_system():
    covered = {f: BY_HAND.covers(Composition(f)) for f in ("NaCl3", "Na", "KCl", "KNaCl", "Po")}
    assert covered == {"NaCl3": True, "Na": True, "KCl": False, "KNaCl": False, "Po": False}


def test_an_element_without_reference_has_no_hull():
    assert math.isnan(BY_HAND.e_above_hull(Composition("FeCl2"), -3))
    assert math.isnan(BY_HAND.e_above_hull(Composition("NaCl"), math.nan))


def test_the_shipped_hull_is_that_of_pymatgen():
    hull = Hull.load()
    frame = pd.read_csv(REFERENCE / TABLE, keep_default_na=False)
    elements = json.loads((REFERENCE / ELEMENTS).read_text())
    compositions = [Composition(f) for f in frame["formula"]]
    some = [c for c in compositions[::2500] if len(c) < 5]
    assert len(some) > 10
    for candidate in some:
        wanted = set(candidate.elements)
        entries = [
            PDEntry(c, energy * c.num_atoms)
            for c, energy in zip(compositions, frame["energy_per_atom"], strict=True)
            if wanted.issuperset(c.elements)
        ]
        entries += [PDEntry(Composition(e.symbol), elements[e.symbol]) for e in wanted]
        expected = -3 - PhaseDiagram(entries).get_hull_energy_per_atom(candidate)
        assert hull.e_above_hull(candidate, -3) == pytest.approx(expected, abs=1e-8)


def test_no_reference_crystal_lies_below_its_own_hull():
    hull = Hull.load()
    frame = pd.read_csv(REFERENCE / TABLE, keep_default_na=False)[::100]
    above = [
        hull.e_above_hull(Composition(f), e)
        for f, e in zip(frame["formula"], frame["energy_per_atom"], strict=True)
    ]
    assert min(above) > -1e-9
    assert max(above) > 0.1


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda t: t.drop(columns="energy_per_atom"), "no column energy_per_atom"),
        (lambda t: t.assign(potential="MACE-MP-0"), "energies of MACE-MP-0"),
        (
            lambda t: t.assign(energy_per_atom=t["energy_per_atom"] * 4),
            "row 2 .id-NaCl.: its formation energy is -14",
        ),
        (lambda t: t.assign(energy_per_atom="low"), "row 2 .id-NaCl.: its energy is no number"),
        (lambda t: t.assign(formula="?"), "row 2 .id-NaCl.: '.' is not a formula"),
    ],
)
def test_a_table_that_is_not_ours_is_refused(tmp_path, change, complaint):
    path = tmp_path / "table.csv.gz"
    frame = table(NaCl=-4.0)
    frame.to_csv(path, index=False)
    assert Hull.load(path).covers(Composition("NaCl"))  # with the shipped elements
    change(frame).to_csv(path, index=False)
    with pytest.raises(ValueError, match=complaint):
        Hull.load(path)


def test_a_broken_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        Hull.load(tmp_path / "nowhere")
    half = tmp_path / "half.csv.gz"
    half.write_bytes(gzip.compress(b"source,material_id\n" * 1000)[:-20])
    with pytest.raises(ValueError, match=r"half\.csv\.gz"):
        Hull.load(half)


def test_sodium_nitride_is_not_a_missing_value(tmp_path):
    path = tmp_path / "table.csv"
    table(NaN=-3.0).to_csv(path, index=False)
    assert Hull.load(path).covers(Composition("NaN"))


def test_candidates_are_judged():
    columns = BY_HAND.judge(
        ["NaCl", "NaCl", "KCl", None, "FeCl2"], [-4.0, -4.31, math.nan, math.nan, -3]
    )
    assert columns["e_above_hull"] == pytest.approx(
        [0, -0.31, math.nan, math.nan, math.nan], nan_ok=True
    )
    assert columns["hull_covered"] == [True, True, False, False, False]
    assert columns["implausible"] == [False, True, False, False, False]


@pytest.mark.parametrize("formula", ["1", "H0", "H1e999", "()"])
def test_a_formula_without_atoms_is_named(tmp_path, formula):
    path = tmp_path / "hull.csv"
    path.write_text(f"source,material_id,formula,n_atoms,energy_per_atom\ns,1,{formula},2,-3\n")
    with pytest.raises(ValueError, match=r"hull\.csv: row 2 .* is not a formula"):
        Hull.load(path)


def test_a_damaged_csv_gz_is_named(tmp_path):
    content = bytearray(gzip.compress(b"source,material_id,formula,n_atoms,energy_per_atom\n" * 99))
    content[20:40] = b"\xff" * 20
    (tmp_path / "hull.csv.gz").write_bytes(content)
    for read in (Hull.load, lambda path: energies.reference([str(path)], tmp_path / "out.csv")):
        with pytest.raises(ValueError, match=r"hull\.csv\.gz"):
            read(tmp_path / "hull.csv.gz")
