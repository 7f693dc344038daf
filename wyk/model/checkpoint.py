"""Trained models, read from their folders."""

from pathlib import Path

from wyk.common import CONFIG, networks
from wyk.model.ensemble import Ensemble
from wyk.model.transformer import WyckoffTransformer
from wyk.plumbing import Model as Settings

LONGEST = 10_000  # sites; real crystals have a hundred at most


def load(folder: str | Path) -> WyckoffTransformer | Ensemble:
    """Read a model, ready to be used; its `config` attribute is the content of config.json.

    Raises:
        FileNotFoundError, ValueError: as `networks`.
    """
    members, config = networks(folder, WyckoffTransformer, Settings)
    counts, most = config.get("space_group_counts"), config.get("most_sites")
    groups = {str(number) for number in range(1, 231)}
    if not isinstance(counts, dict) or not counts or not counts.keys() <= groups:
        raise ValueError(f"{Path(folder) / CONFIG}: its space_group_counts are not of space groups")
    if not all(n in range(1, 2**31) for n in counts.values()) or most not in range(1, LONGEST):
        raise ValueError(f"{Path(folder) / CONFIG}: its counts of groups or sites are impossible")
    model = members[0] if len(members) == 1 else Ensemble(members)
    model.config = config
    return model.eval()
