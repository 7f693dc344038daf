"""Generation of crystals as sets of Wyckoff positions, after the Wyckoff Transformer.

The package is a house of rooms. Each says in its `__init__` what others may use, and imports only from rooms below it.
"""

__version__ = "0.1.0"

# From the top floor down.
ROOMS = (
    "cli", "tools", "plots", "studies", "baselines", "metrics", "structures", "stability", "coordinates",
    "relaxation", "training", "sampling", "likelihood", "model", "files", "crystals", "common", "plumbing",
)  # fmt: skip
