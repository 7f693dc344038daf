"""Where and how benchmarks write down what they measured."""

import json
from pathlib import Path

from wyk.plumbing import paths


def publish(name: str, result: dict) -> None:
    """Prints a result as one JSON object, and writes it to `figures/benchmarks/<name>.json`, which stands in git."""
    print(json.dumps(result))
    write_json(paths.figures("benchmarks") / f"{name}.json", result)


def write_json(path: Path, result: dict) -> None:
    """Writes a result as indented JSON."""
    with paths.writing(path) as temporary:
        temporary.write_text(json.dumps(result, indent=2) + "\n")
