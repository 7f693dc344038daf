"""Generation of crystals as sets of Wyckoff positions, after the Wyckoff Transformer."""

__version__ = "0.1.0"
