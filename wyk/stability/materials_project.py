"""Crystals of the Materials Project, through its own client and with the user's key.

Only structures are taken. Their energies are computed with CHGNet like those of all other reference crystals:
candidate and reference then err alike, where a hull of the project's own energies (DFT with the corrections of 2020,
on which CHGNet was trained) would differ from CHGNet's by some 0.04 eV/atom at random.
"""

import json
import logging
import os
from itertools import combinations
from pathlib import Path

import pandas as pd
from pymatgen.core import Element

from wyk.plumbing import CACHE, writing


def download(system: str) -> Path:
    """A table of all crystals of a chemical system, its compounds of fewer elements and elements included.

    An answer is kept in the cache folder of the user, and the project is not asked again until it is deleted.

    Args:
        system: such as Li-Fe-O.

    Returns:
        CSV.gz with `material_id`, `structure` (pymatgen's JSON) and `energy_above_hull` (eV/atom, the project's).

    Raises:
        ValueError: if the system has unknown elements, there is no key, or the project knows no such crystal.
        ConnectionError: if it cannot be reached, or refuses.
    """
    symbols = sorted(set(system.split("-")))
    for symbol in symbols:
        if not Element.is_valid_symbol(symbol):
            raise ValueError(
                f"mp:{system}: {symbol!r} is no chemical element; write e.g. mp:Li-Fe-O"
            )
    path = CACHE / "materials_project" / f"{'-'.join(symbols)}.csv.gz"
    if path.is_file():
        logging.getLogger(__name__).info("mp:%s is read from %s", system, path)
        return path
    key = os.environ.get("MP_API_KEY")
    if not key:
        raise ValueError(
            f"mp:{system} needs your key of the Materials Project: set MP_API_KEY to what "
            "materialsproject.org/api shows when you are logged in"
        )
    rows = _ask(symbols, key)
    if not rows:
        raise ValueError(f"mp:{system}: the Materials Project has no crystal of these elements")
    with writing(path) as temporary:
        pd.DataFrame(rows).to_csv(temporary, index=False)
    return path


def _ask(symbols: list[str], key: str) -> list[dict]:
    from mp_api.client import MPRester  # takes seconds to import
    from mp_api.client.core.exceptions import MPRestError
    from requests import RequestException

    systems = [
        "-".join(subset)
        for size in range(1, len(symbols) + 1)
        for subset in combinations(symbols, size)
    ]
    try:
        with MPRester(key, use_document_model=False, mute_progress_bars=True) as client:
            documents = client.materials.summary.search(
                chemsys=systems,
                deprecated=False,
                fields=["material_id", "structure", "energy_above_hull"],
            )
    except (MPRestError, RequestException, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ConnectionError(f"the Materials Project did not answer: {reason}") from error
    return [
        {
            "material_id": str(document["material_id"]),
            "structure": json.dumps(document["structure"]),
            "energy_above_hull": document["energy_above_hull"],
        }
        for document in documents
    ]
