"""WyCryst, retrained: a variational autoencoder over tables of elements and Wyckoff letters.

Source: R. Zhu, W. Nong, S. Yamazaki, K. Hippalgaonkar, "WyCryst: Wyckoff inorganic crystal generator framework",
Matter 7, 3469 (2024). The constants, sizes of layers, optimiser and weights of the loss, are those of its program
(github.com/RaymondZhurm/WyCryst), and so is the way samples are drawn: around known crystals. What differs:

- No branch predicts a property: formation energies of the training rows are not at hand.
- Our element descriptors stand where CGCNN's are.
- The third column of a crystal of two elements has the class "none". The published data are all ternary.
- Group 47 has 27 letters, so the table has one row more.
- Batches of 64 crystals, where theirs have 256, make up for the steps that fewer crystals would leave.
- Atoms in the cell are counted in twenties: as they are, they outweigh the rest of the squared error.
- The learning rate falls when the training loss stalls, as there are no rows left for validation.
- Less noise in latent space, 0.9 instead of 1.4, so that about as many samples are formally valid as published.
- The published loss counts atoms, too, but by rounded numbers, which have no gradient: left out.
"""

import logging
import sys
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from pymatgen.core import Element
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau
from tqdm import tqdm

from wyk.crystals import VOCABULARY, WyckoffRepresentation, element_descriptors, space_group

FEWEST, MOST = 2, 3  # elements of a crystal; the table has a column for each
NONE = len(VOCABULARY)  # class of a column without an element
LETTERS = space_group(47).letters  # a to z and A: no group has others
GROUPS = 230
FILTERS, KERNELS, STRIDES, SLOPE = (32, 64, 128), (5, 3, 3), (2, 2, 1), 0.2
DENSE, GROUP_DENSE, LATENT = 1024, (256, 128), 256
RECONSTRUCTION, GROUP, KL = 256 / 64, 256 / 6, 4  # weights in the loss; published: of sums over 256
BATCH, RATE, LOWEST_RATE, DECAY, STALLED = 64, 2e-4, 2e-5, 0.3, 6
NOISE = 0.9  # standard deviation, added to the place of a known crystal in latent space
ATOMS = 20  # unit of the row that counts them
NO_SITE = "(no site)"  # in place of a letter, where an element has none

logger = logging.getLogger(__name__)


def generate(
    known: Sequence[WyckoffRepresentation], n: int, seed: int, epochs: int
) -> tuple[list[WyckoffRepresentation], dict]:
    """Trains on known crystals, then draws new ones around them in latent space.

    Args:
        known: training and validation. Crystals that are refused are skipped, and counted.
        n: how many.
        seed: the same seed gives the same representations.
        epochs: of training.

    Returns:
        n representations, of which some are formally invalid, and what is to be said of the model: its number of
        weights, the crystals it learned from, and those skipped.

    Raises:
        ValueError: if no crystal is left to learn from, or the loss is not finite.
    """
    torch.set_num_threads(1)  # more change the last bits
    torch.manual_seed(seed)
    reasons = [refusal(crystal) for crystal in known]
    taken = [crystal for crystal, why in zip(known, reasons, strict=True) if why is None]
    refused = [why for why in reasons if why]
    if not taken:
        raise ValueError(f"nothing to train WyCryst on: {refused[0] if refused else 'no crystals'}")
    if refused:
        logger.warning("%d of %d crystals skipped: %s", len(refused), len(known), refused[0])
    tables, groups = encode(taken)
    model = Autoencoder(tables.shape[1])
    train(model, tables, groups, epochs)
    about = {
        "model": "WyCryst, retrained",
        "parameters": sum(weights.numel() for weights in model.parameters()),
        "trained_on": len(taken),
        "skipped": len(refused),
        "epochs": epochs,
    }
    return sample(model, tables, groups, n), about


# --- representations as tables


def refusal(crystal: WyckoffRepresentation) -> str | None:
    """Why a crystal has no table, None if it has one."""
    elements = set(crystal.elements)
    if not FEWEST <= len(elements) <= MOST:
        return f"{crystal.formula}: WyCryst takes two or three elements, not {len(elements)}"
    if unknown := elements - set(VOCABULARY):
        return f"{crystal.formula}: no descriptors of {', '.join(sorted(unknown))}"
    return None


def encode(crystals: Sequence[WyckoffRepresentation]) -> tuple[Tensor, Tensor]:
    """Tables of n crystals that are not refused.

    Returns:
        (n, rows, 3) a column for each element, from the least electronegative on: its class as one-hot, its atoms in
        the conventional cell, its share of them, its descriptors, empty rows, and on how many sites it has each of
        LETTERS; and (n,) space-group number - 1.
    """
    described = F.pad(element_descriptors(VOCABULARY), (0, 0, 0, 1))  # none: zeros
    classes = torch.cat([torch.eye(NONE + 1), torch.zeros(NONE + 1, 2), described], 1)
    rows = classes.shape[1] + len(LETTERS)
    rows += -rows % int(np.prod(STRIDES))  # so that convolutions lead back to as many
    tables = torch.zeros(len(crystals), rows, MOST)
    for table, crystal in zip(tables, crystals, strict=True):
        atoms = crystal.composition
        symbols = sorted(atoms, key=Element)
        kinds = [VOCABULARY.index(symbol) for symbol in symbols]
        table[: classes.shape[1]] = classes[kinds + [NONE] * (MOST - len(kinds))].T
        for column, symbol in enumerate(symbols):
            table[NONE + 1, column] = atoms[symbol] / ATOMS
            table[NONE + 2, column] = atoms[symbol] / crystal.n_atoms
        for symbol, letter in zip(crystal.elements, crystal.letters, strict=True):
            table[LETTERS.index(letter) - len(LETTERS), symbols.index(symbol)] += 1
    return tables, torch.tensor([crystal.space_group - 1 for crystal in crystals])


def decode(tables: Tensor, groups: Tensor) -> list[WyckoffRepresentation]:
    """What tables say, be it possible or not: the likeliest classes, and counts rounded.

    Letters that the group does not have are passed over, as published. An element without a site is formally
    invalid, and has NO_SITE in place of a letter.

    Args:
        tables, groups: as `encode` gives them; tables may have any values.
    """
    kinds = tables[:, : NONE + 1].argmax(1).tolist()
    counts = tables[:, -len(LETTERS) :].round().clamp(min=0).int().mT.tolist()
    result = []
    for number, columns, sites in zip((groups + 1).tolist(), kinds, counts, strict=True):
        elements, letters = [], []
        for kind, count in zip(columns, sites, strict=True):
            if kind == NONE:
                continue
            there = zip(space_group(number).letters, count, strict=False)  # the first of LETTERS
            occupied = "".join(letter * times for letter, times in there) or [NO_SITE]
            elements += [VOCABULARY[kind]] * len(occupied)
            letters += occupied
        result.append(WyckoffRepresentation(number, tuple(elements), tuple(letters)))
    return result


# --- the network


class Autoencoder(nn.Module):
    """Encoder and decoder of tables and space groups; convolutions run along the rows of a table."""

    def __init__(self, rows: int):
        super().__init__()
        sizes = list(zip((MOST, *FILTERS), FILTERS, KERNELS, STRIDES, strict=False))
        short = rows // int(np.prod(STRIDES))
        down, up = [], []
        for low, high, kernel, stride in sizes:
            down += [nn.Conv1d(low, high, kernel, stride, kernel // 2)]
            down += [nn.BatchNorm1d(high), nn.LeakyReLU(SLOPE)]
        for low, high, kernel, stride in reversed(sizes):
            up += [nn.BatchNorm1d(high), nn.ReLU()]
            up += [nn.ConvTranspose1d(high, low, kernel, stride, kernel // 2, stride - 1)]
        flat, (wide, narrow) = FILTERS[-1] * short, GROUP_DENSE
        self.of_table = nn.Sequential(*down, nn.Flatten(), nn.Linear(flat, DENSE), nn.ReLU())
        self.of_group = nn.Sequential(
            nn.Linear(GROUPS, wide), nn.ReLU(), nn.Linear(wide, narrow), nn.ReLU()
        )
        self.latent = nn.Linear(DENSE + narrow, 2 * LATENT)
        self.table = nn.Sequential(
            nn.Linear(LATENT, flat), nn.Unflatten(1, (FILTERS[-1], short)), *up
        )
        self.group = nn.Linear(LATENT, GROUPS)

    def encode(self, tables: Tensor, groups: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and logarithm of the variance in latent space, (n, LATENT) each."""
        one_hot = F.one_hot(groups, GROUPS).float()
        both = torch.cat([self.of_table(tables.mT), self.of_group(one_hot)], 1)
        return self.latent(both).chunk(2, 1)

    def decode(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Tables (n, rows, 3) and logits of the groups (n, GROUPS) at places (n, LATENT)."""
        return self.table(z).mT, self.group(z)


def draw(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Places in latent space drawn from what the encoder said."""
    return mean + (log_variance / 2).exp() * torch.randn_like(mean)


def loss(model: Autoencoder, tables: Tensor, groups: Tensor) -> Tensor:
    """Of a batch, per crystal: squared errors, cross-entropy, and KL divergence per latent dimension."""
    mean, log_variance = model.encode(tables, groups)
    decoded, logits = model.decode(draw(mean, log_variance))
    divergence = (mean.square() + log_variance.exp() - 1 - log_variance).mean() / 2
    return (
        RECONSTRUCTION * (decoded - tables).square().sum((1, 2)).mean()
        + GROUP * F.cross_entropy(logits, groups)
        + KL * divergence
    )


def train(model: Autoencoder, tables: Tensor, groups: Tensor, epochs: int) -> list[float]:
    """Fits the weights; random numbers are torch's own.

    Returns:
        Loss of each epoch, per crystal.

    Raises:
        ValueError: if it is not finite.
    """
    optimizer = torch.optim.RMSprop(model.parameters(), lr=RATE, alpha=0.9, eps=1e-7)
    schedule = ReduceLROnPlateau(optimizer, factor=DECAY, patience=STALLED, min_lr=LOWEST_RATE)
    losses = []
    for epoch in tqdm(range(epochs), "train", unit="epoch", disable=None, file=sys.stderr):
        total = 0.0
        for rows in torch.randperm(len(tables)).split(BATCH):
            optimizer.zero_grad()
            value = loss(model.train(), tables[rows], groups[rows])
            value.backward()
            optimizer.step()
            total += value.item() * len(rows)
        if not np.isfinite(total):
            raise ValueError(f"WyCryst: the loss is {total} in epoch {epoch + 1}")
        losses.append(total / len(tables))
        schedule.step(losses[-1])
    return losses


@torch.no_grad()
def sample(
    model: Autoencoder, tables: Tensor, groups: Tensor, n: int
) -> list[WyckoffRepresentation]:
    """Representations around n known crystals, which are drawn at random; some are formally invalid."""
    result, model = [], model.eval()
    for rows in torch.randint(len(tables), (n,)).split(BATCH):
        place = draw(*model.encode(tables[rows], groups[rows]))
        decoded, logits = model.decode(place + NOISE * torch.randn_like(place))
        result += decode(decoded, logits.argmax(1))
    return result
