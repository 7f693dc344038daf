"""`wyk evaluate` on 10,000 crystals of another program, written by ASE, on two cores, not relaxed.

The crystals are those of `runs/biternary_7k`, as CIFs without symmetry in a zip, and once more as a CSV with a column
`structure` of pymatgen JSON. Real crystals are MP-20's where `data/` has them. Prints one JSON object, and writes it
to `figures/benchmarks/judge.json`. Takes some ten minutes.
"""

import io
import json
import os
import sys
import time
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

os.environ["OMP_NUM_THREADS"] = "1"

import pandas as pd
from ase.io import write
from publish import publish
from pymatgen.io.ase import AseAtomsAdaptor
from tqdm import tqdm

from wyk.files.cells import parse
from wyk.files.readers import Record
from wyk.metrics import evaluation
from wyk.plumbing import paths

N, JOBS = 10_000, 2


def main() -> None:
    n = int(sys.argv[1]) if len(sys.argv) > 1 else N
    cifs = pd.read_parquet(paths.run("biternary_7k", "structures") / "crystals.parquet")["cif"]
    crystals = [parse(Record("", "", cif, "cif")) for cif in tqdm(cifs.dropna()[:n], disable=None)]
    real = "mp_20_biternary:test", ["mp_20_biternary:val"]
    if not (paths.DATA / "mp_20_biternary" / "test.csv.gz").is_file():
        real = "aflow:test", ["aflow:train", "aflow:val"]
    with TemporaryDirectory() as folder:
        folder = Path(folder)
        sources = {"cifs": folder / "theirs.zip", "json": folder / "theirs.csv"}
        with zipfile.ZipFile(sources["cifs"], "w", zipfile.ZIP_DEFLATED) as archive:
            for i, crystal in enumerate(crystals):
                write(text := io.BytesIO(), AseAtomsAdaptor.get_atoms(crystal), format="cif")
                archive.writestr(f"{i}.cif", text.getvalue())
        texts = [json.dumps(crystal.as_dict()) for crystal in crystals]
        pd.DataFrame({"structure": texts}).to_csv(sources["json"])
        result = {"n": len(crystals), "jobs": JOBS, "reference": real[0], "training": real[1]}
        for kind, source in sources.items():
            start = time.monotonic()
            out = folder / f"{kind}.json"
            metrics = evaluation.evaluate(str(source), real[0], out, real[1], jobs=JOBS)
            result[f"s_evaluate_{kind}"] = round(time.monotonic() - start)
            result[f"valid_{kind}"] = metrics["raw"]["formal_validity"]["numerator"]
    publish("judge", result)


if __name__ == "__main__":
    main()
