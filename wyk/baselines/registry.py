"""The baselines whose representations `wyk baseline` makes, by name."""

from wyk.baselines.plain import random_positions, substitution
from wyk.baselines.wycryst import generate

PLAIN = {"random": random_positions, "substitution": substitution}
TRAINED = {"wycryst": generate}  # on known crystals; they get a number of epochs, too
