"""Tables of reference energies: computed, extended, and of the Materials Project."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlparse

import pandas as pd
import pytest
from pymatgen.core import Composition, Lattice, Structure
from pymatgen.io.cif import CifWriter

from wyk.files import datasets
from wyk.relaxation import descent as relaxation
from wyk.stability import materials_project
from wyk.stability.hull import ELEMENTS, REFERENCE, Hull
from wyk.stability.reference_energies import reference, reference_energies, relaxed, single_points

SALT = Structure.from_spacegroup(
    "Fm-3m", Lattice.cubic(5.69), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]
)
MAGNESIA = Structure.from_spacegroup(
    "Fm-3m", Lattice.cubic(4.21), ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]]
)
LOST = Structure(Lattice.cubic(3.3), ["Po"], [[0, 0, 0]])


def test_reference_energies_of_crystals():
    energies, rejected = reference_energies({"ours": [("salt", SALT), ("lost", LOST)]})
    assert energies["potential"].tolist() == [relaxation.POTENTIAL]
    assert rejected.to_dict("records") == [
        {"source": "ours", "material_id": "lost", "reason": "ValueError: CHGNet does not know Po"}
    ]
    row = energies.iloc[0]
    assert (row["material_id"], row["formula"], row["n_atoms"]) == ("salt", "NaCl", 8)
    hull = Hull(energies, {"Na": -1.3, "Cl": -1.8})
    assert hull.e_above_hull(Composition("NaCl"), row["energy_per_atom"]) == pytest.approx(0)
    assert abs(Hull.load().e_above_hull(Composition("NaCl"), row["energy_per_atom"])) < 0.01


def test_relaxed_crystals_are_lower():
    (before,), (after,) = single_points([SALT]), relaxed([SALT])
    assert after.energy_per_atom <= before.energy_per_atom
    assert relaxed([LOST])[0].reason == "CHGNet does not know Po"


@pytest.fixture
def crystals(tmp_path):
    """A CSV of a good crystal, one that CHGNet does not know, and one that cannot be read."""
    rows = [("a", str(CifWriter(SALT))), ("b", str(CifWriter(LOST))), ("c", "no CIF")]
    path = tmp_path / "crystals.csv"
    pd.DataFrame(rows, columns=["material_id", "cif"]).to_csv(path, index=False)
    return path


def test_a_table_is_extended(tmp_path, crystals):
    first, both, again = (tmp_path / f"{name}.csv.gz" for name in ("first", "both", "again"))
    assert reference([str(crystals)], first).n == 1
    reasons = pd.read_csv(tmp_path / "first.rejected.csv").set_index("material_id")["reason"]
    assert "CHGNet does not know Po" in reasons["b"]
    assert "row 3 (c): not a CIF" in reasons["c"]
    pd.DataFrame({"cif": [str(CifWriter(MAGNESIA))]}).to_csv(tmp_path / "more.csv")
    assert reference([str(first), str(tmp_path / "more.csv")], both).n == 2
    assert pd.read_csv(both)["formula"].tolist() == ["NaCl", "MgO"]
    assert reference([str(both), str(first)], again).n == 2  # no row twice
    assert not (tmp_path / "both.rejected.csv").exists()


def test_the_shipped_table_is_extended(tmp_path, crystals):
    shipped = pd.read_csv(REFERENCE / "chgnet_energies.csv.gz", keep_default_na=False)
    assert reference(["shipped", str(crystals)], tmp_path / "all.csv.gz").n == len(shipped) + 1
    assert Hull.load(tmp_path / "all.csv.gz").covers(Composition("NaCl"))


def test_a_table_of_another_potential_is_not_taken_over(tmp_path):
    path = tmp_path / "theirs.csv"
    columns = ("source", "material_id", "formula", "n_atoms", "energy_per_atom", "potential")
    pd.DataFrame([("x", "1", "NaCl", 2, -3.3, "MACE-MP-0")], columns=columns).to_csv(path)
    with pytest.raises(ValueError, match=r"theirs\.csv holds energies of MACE-MP-0"):
        reference([str(path)], tmp_path / "out.csv")


# --- the Materials Project, as its API answers


def document(material_id: str, structure: Structure, above: float) -> dict:
    system = "-".join(sorted(element.symbol for element in structure.elements))
    return {
        "material_id": material_id,
        "structure": structure.as_dict(),
        "energy_above_hull": above,
        "chemsys": system,
    }


SODIUM = Structure(Lattice.cubic(4.2), ["Na", "Na"], [[0, 0, 0], [0.5, 0.5, 0.5]])
DOCUMENTS = [document("mp-22862", SALT, 0.0), document("mp-127", SODIUM, 0.0)]
KEY = "0123456789abcdef0123456789abcdef"


class Api(BaseHTTPRequestHandler):
    """The two addresses that are asked, and answers of the form that the API documents."""

    def do_GET(self):
        url = urlparse(self.path)
        query = parse_qs(url.query)
        if url.path == "/heartbeat":
            answer = {"status": "OK", "version": "0.87.0", "db_version": "2026.09.01"}
            answer["access_controlled_batch_ids"] = []
        elif self.headers["x-api-key"] != KEY:
            return self.answer(403, {"detail": "wrong key"})
        else:
            self.server.asked.append((url.path, query))
            systems = query["chemsys"][0].split(",")
            found = [d for d in DOCUMENTS if d["chemsys"] in systems]
            fields = query["_fields"][0].split(",")
            found = [{field: d[field] for field in fields} for d in found]
            answer = {"data": found, "meta": {"total_doc": len(found)}}
        return self.answer(200, answer)

    def answer(self, code: int, content: dict) -> None:
        self.send_response(code)
        self.send_header("content-type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(content).encode())

    def log_message(self, *arguments):
        pass


@pytest.fixture
def project(monkeypatch, tmp_path):
    """A server that answers as the Materials Project, and an empty cache."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
    server.asked = []
    threading.Thread(target=server.serve_forever).start()
    from mp_api.client.core.settings import MAPI_CLIENT_SETTINGS

    address = f"http://127.0.0.1:{server.server_port}/"
    monkeypatch.setattr(MAPI_CLIENT_SETTINGS, "ENDPOINT", address)
    monkeypatch.setattr(materials_project, "CACHE", tmp_path / "cache")
    monkeypatch.setenv("MP_API_KEY", KEY)
    yield server
    server.shutdown()
    server.server_close()


def test_a_hull_of_the_materials_project(project, tmp_path, monkeypatch):
    assert reference(["mp:Na-Cl"], tmp_path / "mp.csv.gz").n == 2
    table = pd.read_csv(tmp_path / "mp.csv.gz").set_index("material_id")
    assert set(table["source"]) == {"Materials Project"}
    shipped = json.loads((REFERENCE / ELEMENTS).read_text())
    assert table.loc["mp-127", "energy_per_atom"] == pytest.approx(shipped["Na"], abs=0.05)
    assert table.loc["mp-22862", "energy_per_atom"] == pytest.approx(
        relaxation.energy_per_atom(SALT), abs=1e-5
    )
    ((path, query),) = project.asked
    assert path == "/materials/summary/"
    assert sorted(query["chemsys"][0].split(",")) == ["Cl", "Cl-Na", "Na"]
    monkeypatch.delenv("MP_API_KEY")
    assert materials_project.download("Cl-Na") == materials_project.download("Na-Cl")
    assert len(project.asked) == 1, "the answer is on the disk"


def test_crystals_of_the_project_are_read_as_they_are(project):
    read, rejected = datasets.structures(materials_project.download("Na-Cl"))
    assert not rejected
    assert dict(read)["mp-22862"] == SALT


def test_an_answer_without_crystals_is_an_error_and_not_kept(project):
    for _ in range(2):
        with pytest.raises(ValueError, match="mp:He-Ne: the Materials Project has no crystal"):
            materials_project.download("He-Ne")
    assert len(project.asked) == 2


@pytest.mark.parametrize(
    ("system", "key", "error", "complaint"),
    [
        ("Na-Cl", None, ValueError, "needs your key of the Materials Project: set MP_API_KEY"),
        ("Na-Cl", "x" * 32, ConnectionError, "did not answer: .*wrong key"),
        ("Na-Cl", "short", ConnectionError, "did not answer: .*"),
        ("Na,Cl", KEY, ValueError, "'Na,Cl' is no chemical element; write e.g. mp:Li-Fe-O"),
    ],
)
def test_what_cannot_be_asked(project, monkeypatch, system, key, error, complaint):
    monkeypatch.delenv("MP_API_KEY") if key is None else monkeypatch.setenv("MP_API_KEY", key)
    with pytest.raises(error, match=complaint):
        materials_project.download(system)


def test_a_project_that_cannot_be_reached(project, monkeypatch):
    from mp_api.client.core.settings import MAPI_CLIENT_SETTINGS

    monkeypatch.setattr(MAPI_CLIENT_SETTINGS, "ENDPOINT", "http://127.0.0.1:1/")
    with pytest.raises(ConnectionError, match="the Materials Project did not answer"):
        materials_project.download("Na-Cl")
