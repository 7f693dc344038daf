"""All atoms of a cell from its sites and the operations of its group."""

from collections.abc import Callable

import numpy as np

from wyk.crystals import MOST_ATOMS
from wyk.files.atoms import is_sheared, shortest_basis
from wyk.files.settings import Setting

MOST_CODED = 9000  # sites whose images fit into 64 bits
MERGED = 0.4  # Å; images of a site closer than this are one atom


def images_of(
    setting: Setting, lattice: np.ndarray, places: np.ndarray
) -> tuple[np.ndarray, list[int]]:
    """All atoms of the cell, (m, 3), site by site, and how many each of n sites gives.

    A site that lies closer than `MERGED` to some of its images is moved to their mean, and so onto the symmetry
    element that it was meant to be on.
    """
    n, order = len(places), len(setting.rotations)
    if order == 1:
        return places, [1] * n
    if n * order > 20 * MOST_ATOMS or n > MOST_CODED:
        raise ValueError(f"{n:,} sites and {order} symmetry operations; too many atoms")
    basis = shortest_basis(lattice) if is_sheared(lattice) else None
    inverse = None if basis is None else np.linalg.inv(basis)

    def shortest(differences: np.ndarray) -> np.ndarray:
        """Of the differences that are the same but for lattice vectors the shortest."""
        if basis is None:
            return differences - np.rint(differences)
        short = differences @ inverse
        return (short - np.rint(short)) @ basis

    def near(shifts: np.ndarray) -> np.ndarray:
        return (np.square(shifts @ lattice)).sum(-1) < MERGED**2

    for _ in range(10):
        images = (places @ setting.rotations.transpose(0, 2, 1)).transpose(1, 0, 2)  # (n, order, 3)
        images = images + setting.translations
        shifts = shortest(images - places[:, None])
        same = near(shifts)
        stabilizers = same.sum(1)
        moves = (shifts * same[..., None]).sum(1) / stabilizers[:, None]
        if np.abs(moves).max() < 1e-9:
            break
        places = places + moves
    if (total := int((order / stabilizers).sum())) > MOST_ATOMS:
        raise ValueError(f"{total:,} atoms in the cell; up to {MOST_ATOMS:,} can be read")
    bins = np.rint((images - np.floor(images)) * 1e5).astype(np.int64) % 100_000
    codes = bins @ np.array([10**10, 10**5, 1]) + np.arange(n)[:, None] * 10**15
    _, first = np.unique(codes, return_index=True)
    counts = np.bincount(first // order, minlength=n)
    if not (counts * stabilizers == order).all():  # some lie on either side of a bin's edge
        first, counts = _one_by_one(images, lambda shifts: near(shortest(shifts)))
    return images.reshape(-1, 3)[np.sort(first)], counts.tolist()


def _one_by_one(images: np.ndarray, same: Callable) -> tuple[np.ndarray, np.ndarray]:
    """Which of n × order images to keep, and how many of each site."""
    kept, counts = [], []
    for i, site in enumerate(images):
        left, count = np.arange(len(site)), 0
        while len(left):
            kept.append(i * len(site) + left[0])
            count += 1
            left = left[~same(site[left] - site[left[0]])]
        counts.append(count)
    return np.array(kept), np.array(counts)
