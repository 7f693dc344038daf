"""What networks are told of elements and groups, against who knows better."""

import numpy as np
import pytest
import spglib
import torch
from pymatgen.core import Element

from wyk.crystals.descriptors import (
    VOCABULARY,
    element_descriptors,
    group_descriptors,
    similar_elements,
)


def test_similar_elements_are_similar():
    near = {VOCABULARY[i] for i in similar_elements(VOCABULARY)[VOCABULARY.index("K")].tolist()}
    assert {"Na", "Rb"} <= near
    assert "F" not in near


def test_neighbours_are_the_nearest_on_pettifors_scale():
    """None is its own neighbour, and no element outside is nearer than one inside."""
    scale = np.array([Element(symbol).mendeleev_no for symbol in VOCABULARY])
    for k in (1, 4, 7):
        for i, row in enumerate(similar_elements(VOCABULARY, k).tolist()):
            apart = np.abs(scale - scale[i])
            others = np.delete(np.arange(len(scale)), [i, *row])
            assert i not in row
            assert len(set(row)) == k
            assert apart[row].max() <= apart[others].min()


def test_elements_differ_and_their_properties_are_standardised():
    features = element_descriptors(VOCABULARY)
    assert features.isfinite().all()
    assert len({tuple(row) for row in features.tolist()}) == len(VOCABULARY) == 103
    assert torch.allclose(features.mean(0), torch.zeros(features.shape[1]), atol=1e-5)
    spread = features.std(0, correction=0)
    assert ((spread - 1).abs() < 1e-3).logical_or(spread < 1e-3).all()
    far = torch.cdist(features, features)
    k, rb, f = map(VOCABULARY.index, ("K", "Rb", "F"))
    assert far[k, rb] < far[k, f] / 3


SETTINGS = {}  # of spglib: the first one of each group
for hall in range(530, 0, -1):
    SETTINGS[spglib.get_spacegroup_type(hall).number] = hall


def test_groups_are_described_by_what_their_operations_are():
    """Against spglib's tables: 32 point groups, 6 centrings, inversion, and the 73 symmorphic groups."""
    features = group_descriptors().bool().numpy()
    assert features.shape == (231, 7 + 32 + 6 + 2)
    assert not features[0].any()
    parts = np.split(features[1:], np.cumsum([7, 32, 6]), axis=1)
    assert all((part.sum(1) == 1).all() for part in parts[:3])
    points = [
        spglib.get_spacegroup_type(SETTINGS[n]).pointgroup_international for n in range(1, 231)
    ]
    assert len({*zip(points, parts[1].argmax(1).tolist(), strict=True)}) == 32
    for number, (inversion, _) in enumerate(parts[3], start=1):
        rotations = spglib.get_symmetry_from_database(SETTINGS[number])["rotations"]
        assert inversion == (rotations == -np.eye(3)).all((1, 2)).any()
    assert parts[3][:, 1].sum() == 73


@pytest.mark.parametrize(("one", "other"), [(225, 227), (2, 1), (166, 160), (62, 19)])
def test_groups_that_differ_are_told_apart(one, other):
    features = group_descriptors()
    assert not torch.equal(features[one], features[other])
