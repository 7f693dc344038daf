"""`wyk evaluate` on our crystals and on anyone's: what is written, and what becomes of bad rows."""

import json
import zipfile

import numpy as np
import pandas as pd
import pytest
from pymatgen.core import Lattice, Structure
from pymatgen.io.cif import CifWriter

from wyk.crystals.representation import WyckoffRepresentation
from wyk.crystals.tables import to_table, write_representations
from wyk.metrics import evaluation
from wyk.relaxation.descent import POTENTIAL
from wyk.stability.hull import COLUMNS
from wyk.structures import building as structures


def rock_salt(cation: str, anion: str, a: float) -> Structure:
    places = [[0, 0, 0], [0.5, 0.5, 0.5]]
    return Structure.from_spacegroup("Fm-3m", Lattice.cubic(a), [cation, anion], places)


SALT, MAGNESIA, IODIDE = (
    rock_salt(*c) for c in (("Na", "Cl", 5.69), ("Mg", "O", 4.25), ("K", "I", 7.2))
)
STRETCHED = MAGNESIA.copy()
STRETCHED.scale_lattice(STRETCHED.volume * 1.3)
LOST = Structure(Lattice.cubic(3.3), ["Po"], [[0, 0, 0]])
ISOLATED = Structure(Lattice.cubic(12), ["Ar"], [[0, 0, 0]])


@pytest.fixture
def known(tmp_path):
    """A CSV of what is not novel."""
    path = tmp_path / "known.csv"
    pd.DataFrame({"cif": [str(CifWriter(SALT))]}).to_csv(path)
    return str(path)


@pytest.fixture
def theirs(tmp_path):
    """Another program's crystals: known, the same again, new, strained, hopeless, unreadable."""
    path = tmp_path / "theirs.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, crystal in {
            "known": SALT, "new": IODIDE, "again": IODIDE * (2, 1, 1), "strained": STRETCHED,
            "lost": LOST, "isolated": ISOLATED,
        }.items():  # fmt: skip
            archive.writestr(f"{name}.cif", str(CifWriter(crystal)))
        archive.writestr("broken.cif", "no crystal")
    return str(path)


def fractions(block: dict) -> dict:
    return {k: (e["numerator"], e["denominator"]) for k, e in block.items() if "numerator" in e}


def test_crystals_of_another_program_as_they_stand(tmp_path, theirs, known):
    out = tmp_path / "metrics.json"
    result = evaluation.evaluate(theirs, "aflow:test", out, training=[known])
    assert json.loads(out.read_text()) == result
    raw, relaxed = fractions(result["raw"]), fractions(result["relaxed"])
    assert raw["formal_validity"] == relaxed["formal_validity"] == (6, 7)
    assert raw["uniqueness"] == (5, 6)
    assert relaxed["uniqueness"] == (5, 6)
    assert relaxed["novelty"] == (4, 5)
    assert relaxed["stable"] == (3, 7)  # known, new, again
    assert relaxed["sun"] == relaxed["sun_plausible"] == (1, 7)
    assert relaxed["implausible"] == (0, 7)
    assert not {"converged", "symmetry_kept", "ssun"} & set(relaxed)
    provenance = result["provenance"]
    assert (provenance["samples"], provenance["crystals"]) == (7, "as given")
    assert provenance["novelty_relaxed"].startswith("StructureMatcher")
    assert (provenance["potential"], provenance["hull"]) == (POTENTIAL, "reference")
    assert "7 percentage points too high" in provenance["hull_optimism"]
    assert provenance["versions"]["smact"]
    reasons = pd.read_csv(tmp_path / "metrics.rejected.csv").set_index("material_id")["reason"]
    assert set(reasons.index) == {"broken", "lost", "isolated"}
    assert reasons["lost"] == "no energy: ValueError: CHGNet does not know Po"


def test_relaxing_them_first_helps_the_strained(tmp_path, theirs, known):
    result = evaluation.evaluate(
        theirs, "aflow:test", tmp_path / "m.json", training=[known], relax=True
    )
    relaxed = fractions(result["relaxed"])
    assert relaxed["stable"] == (5, 7)  # the isolated atoms, too, which are pulled together first
    assert relaxed["sun"] == relaxed["ssun"] == (3, 7)
    assert relaxed["converged"] == relaxed["symmetry_kept"] == (5, 7)
    assert relaxed["formal_validity"] == (5, 7)
    assert result["provenance"]["crystals"] == "relaxed by wyk evaluate"


def test_without_training_nothing_is_said_of_novelty(tmp_path, theirs):
    result = evaluation.evaluate(theirs, "aflow:test", tmp_path / "metrics.json")
    for block in ("raw", "relaxed"):
        assert not {"novelty", "sun", "ssun", "sun_plausible", "ssun_plausible"} & set(
            result[block]
        )
    assert "stable_plausible" in result["relaxed"]


@pytest.fixture
def hull(tmp_path):
    """A hull on which rock salt is 1 eV/atom too low to be true."""
    path = tmp_path / "hull.csv"
    rows = [("x", "1", "NaCl", 2, -2.5), ("x", "2", "KI", 2, -2.6), ("x", "3", "MgO", 2, -6.0)]
    pd.DataFrame(rows, columns=list(COLUMNS)).to_csv(path, index=False)
    return path


def test_another_hull_and_what_is_below_it_beyond_belief(tmp_path, theirs, known, hull):
    result = evaluation.evaluate(
        theirs, "aflow:test", tmp_path / "metrics.json", training=[known], hull=hull
    )
    relaxed = fractions(result["relaxed"])
    assert relaxed["hull_coverage"] == (5, 7)  # Po and Ar are elements, and have no reference
    assert relaxed["implausible"] == (3, 7)
    assert relaxed["sun"] == (2, 7)
    assert relaxed["sun_plausible"] == (1, 7)
    assert result["provenance"]["hull"] == "hull.csv"
    assert result["provenance"]["hull_optimism"] is None


def test_our_own_crystals(tmp_path, known, hull):
    rows = [
        WyckoffRepresentation(225, ("Na", "Cl"), ("a", "b")),
        WyckoffRepresentation(225, ("K", "I"), ("a", "b")),
        WyckoffRepresentation(225, ("K", "I"), ("a", "a")),
    ]
    samples = tmp_path / "samples.parquet"
    write_representations(samples, to_table(rows))
    structures.build(samples, tmp_path / "made", draws=(1,))
    settings = {"training": [known], "crystals": tmp_path / "made"}
    result = evaluation.evaluate(str(samples), "aflow:test", tmp_path / "m.json", **settings)
    relaxed = fractions(result["relaxed"])
    assert relaxed["formal_validity"] == (2, 3)
    assert relaxed["stable"] == relaxed["symmetry_kept"] == relaxed["hull_coverage"] == (2, 3)
    assert relaxed["novelty"] == (1, 2)
    assert relaxed["sun"] == relaxed["ssun"] == (1, 3)
    assert result["provenance"]["crystals"] == "relaxed by wyk structures"
    other = evaluation.evaluate(
        str(samples), "aflow:test", tmp_path / "m.json", hull=hull, **settings
    )
    assert fractions(other["relaxed"])["implausible"] == (2, 3)


def test_a_table_that_is_not_ours_is_named(tmp_path, known):
    samples = tmp_path / "samples.parquet"
    table = to_table([WyckoffRepresentation(225, ("Na", "Cl"), ("a", "b"))])
    write_representations(samples, table)
    write_representations(
        tmp_path / "crystals.parquet", table.assign(cif=None, energy_per_atom=np.nan)
    )
    with pytest.raises(
        ValueError, match="no column converged, symmetry_kept: not made by `wyk structures`"
    ):
        evaluation.evaluate(
            str(samples), "aflow:test", tmp_path / "metrics.json", crystals=tmp_path
        )
    assert not (tmp_path / "metrics.json").exists()


def test_samples_that_were_left_out_count_as_not_valid(tmp_path):
    """`wyk sample --unconstrained` and `wyk baseline` list them beside the Parquet."""
    samples, out = tmp_path / "samples.parquet", tmp_path / "m.json"
    salt = WyckoffRepresentation(225, ("Na", "Cl"), ("a", "b"))
    table = to_table([salt])
    table.attrs = {"model": "one of salt"}
    write_representations(samples, table)
    result = evaluation.evaluate(str(samples), "aflow:test", out)
    assert fractions(result["raw"])["formal_validity"] == (1, 1)
    assert result["provenance"]["generator"] == {"model": "one of salt"}
    pd.DataFrame({"reason": ["a", "b"]}).to_csv(tmp_path / "samples.rejected.csv", index=False)
    result = evaluation.evaluate(str(samples), "aflow:test", out)
    assert fractions(result["raw"])["formal_validity"] == (1, 3)
    assert result["provenance"]["samples"] == 3
