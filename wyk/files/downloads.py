"""Brings the third-party files into `data/`.

One way or the other::

    python -m wyk.files.downloads                  downloads what is missing (`make data`)
    python -m wyk.files.downloads --from FOLDER    copies what FOLDER has (`make data FROM=folder`)

Either way each file is compared with its git blob id.
"""

import argparse
import http.client
import shutil
import sys
import urllib.request
from pathlib import Path

from wyk.files import origins
from wyk.files.readers import file_records
from wyk.plumbing import DATA, writing


def fetch(folder: Path | None = None) -> bool:
    """Bring the third-party files into `data/`, saying on stdout what became of each.

    What is there and right stays; what fails is reported and the others go on.

    Args:
        folder: copy what it has, laid out as `data/`; None downloads.

    Returns:
        Whether all is well: nothing wrong, and nothing missing unless `folder` lacks it.

    Raises:
        FileNotFoundError: if `folder` has none of them.
    """
    if folder and not any((folder / name).is_file() for name in origins.FILES):
        raise FileNotFoundError(f"{folder} has no data set; looked for {', '.join(origins.FILES)}")
    failures = 0
    for name, origin in origins.FILES.items():
        try:
            outcome = _fetch(name, folder)
        except (ValueError, OSError, http.client.HTTPException) as error:
            failures += 1
            outcome = f"FAILED: {error}"
        else:
            if origin.blob is None and outcome != "absent":
                outcome += ", not verified: no checksum of it is known"
        print(f"{name}: {outcome}", flush=True)
    return not failures


def _fetch(name: str, folder: Path | None) -> str:
    target = DATA / name
    try:
        origins.check(target, name)
        return "already there"
    except FileNotFoundError:
        pass
    except ValueError as error:
        print(f"{error}: replacing it", flush=True)
    if folder and not (folder / name).is_file():
        return "absent"
    url = f"https://raw.githubusercontent.com/{origins.FILES[name].repository}/data/{name}"
    with writing(target) as temporary:
        if folder:
            shutil.copyfile(folder / name, temporary)
        else:
            with urllib.request.urlopen(url, timeout=60) as response, temporary.open("wb") as file:
                shutil.copyfileobj(response, file)
        if fault := origins.fault(temporary, name):
            raise ValueError(f"{folder / name if folder else url} {fault}")
        next(file_records(temporary, label=name))  # an unverified file must at least hold crystals
    return "copied" if folder else "downloaded"


def main() -> None:
    """`python -m wyk.files.downloads [--from FOLDER]`."""
    parser = argparse.ArgumentParser(
        prog="python -m wyk.files.downloads", description=fetch.__doc__
    )
    parser.add_argument("--from", dest="folder", type=Path, help="copy the files in FOLDER")
    try:
        sys.exit(0 if fetch(parser.parse_args().folder) else 1)
    except (ValueError, OSError) as error:
        sys.exit(f"wyk: {error}")


if __name__ == "__main__":
    main()
