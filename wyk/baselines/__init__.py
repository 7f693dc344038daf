"""What a model is compared with in Table 1: what is made without a model, and other models trained on the same data."""

from wyk.baselines.plain import random_positions, substitution
from wyk.baselines.wycryst import generate as train_wycryst

PLAIN = {"random": random_positions, "substitution": substitution}
# These take a number of epochs as well, and say beside their representations what model they are of.
TRAINED = {"wycryst": train_wycryst}
