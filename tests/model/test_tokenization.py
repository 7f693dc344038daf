"""Representations as tensors: nothing lost, nothing invented, augmentation inside the orbit."""

import numpy as np
import pytest
import torch

from wyk.crystals.descriptors import VOCABULARY, similar_elements
from wyk.crystals.representation import WyckoffRepresentation
from wyk.crystals.spacegroups import space_group
from wyk.crystals.tables import from_table
from wyk.files import datasets
from wyk.model.tokenization import augment, decode, encode, prefixes, tables


@pytest.fixture(scope="module")
def crystals():
    return from_table(datasets.load("aflow:train"))


@pytest.fixture(scope="module")
def data(crystals):
    return encode(crystals, VOCABULARY, variants=len(crystals))


def test_tables_name_every_position():
    t = tables()
    assert len(t.symmetry) == 1731
    assert len(t.symmetries) == 78
    assert t.lookup.shape == (231, 78, 8)
    assert (t.lookup[t.group, t.symmetry, t.enumeration] == torch.arange(1731)).all()
    assert (t.lookup >= 0).sum() == 1731
    p = space_group(225).position("c")
    index = int(t.offset[225]) + 2
    assert t.symmetries[t.symmetry[index]] == p.site_symmetry
    assert (int(t.multiplicity[index]), int(t.dof[index])) == (p.multiplicity, p.dof)


def test_encode_and_decode_undo_each_other(crystals, data):
    assert decode(data.space_group, data.elements, data.positions, VOCABULARY) == crystals


def test_variants_stay_in_the_orbit_and_change_both_fields(crystals, data):
    fingerprints = [r.fingerprint() for r in crystals]
    structure = torch.arange(len(data)).repeat_interleave(data.variant_count)
    images = decode(
        data.space_group[structure], data.elements[structure], data.variants, VOCABULARY
    )
    assert [fingerprints[i] for i in structure] == [r.fingerprint() for r in images]
    changed = [
        {
            crystals[i].site_symmetries != r.site_symmetries
            for i, r in zip(structure, images, strict=True)
        }
    ]
    assert {True, False} in changed  # in the orthorhombic groups the symbol follows the letter


def test_augmentation_draws_variants_and_similar_elements(data):
    torch.manual_seed(0)
    structure = torch.arange(len(data)).repeat(20)
    neighbours = similar_elements(VOCABULARY)
    never, always = torch.zeros(len(structure)), torch.ones(len(structure))
    same = augment(data, structure, never, never, neighbours)
    assert torch.equal(same[0], data.elements[structure])
    assert torch.equal(same[1], data.positions[structure])
    elements, positions = augment(data, structure, always, 0.999 * always, neighbours)
    many = data.variant_count[structure] > 1
    moved = (positions != data.positions[structure]).any(1)
    assert 0.3 < moved[many].float().mean() <= 1
    assert not moved[~many].any()
    different = elements != data.elements[structure]
    assert 0.9 < different.any(1).float().mean() <= 1
    row, site = different.nonzero(as_tuple=True)
    old, new = data.elements[structure][row, site], elements[row, site]
    assert (neighbours[old] == new[:, None]).any(1).all()
    distinct = [len(set(r.tolist()) - {-1}) for r in elements]
    assert distinct == [len(set(r.tolist()) - {-1}) for r in data.elements[structure]]


def test_prefixes_split_each_structure_in_known_and_remaining(data):
    structure = torch.arange(len(data))
    known = (torch.rand(len(data)) * (data.length + 1)).long()
    batch = prefixes(data.space_group, data.elements, data.positions, known)
    assert torch.equal((batch.elements >= 0).sum(1), known)
    assert torch.equal(batch.stop, known == data.length)
    weights = torch.zeros(len(data)).index_add(0, batch.row, batch.weight)
    assert torch.allclose(weights, (known < data.length).float())
    for i in structure.tolist():
        mine = batch.row == i
        sites = [*zip(batch.elements[i].tolist(), batch.positions[i].tolist(), strict=True)]
        sites = [site for site in sites if site[0] >= 0]
        sites += zip(batch.element[mine].tolist(), batch.position[mine].tolist(), strict=True)
        whole = zip(data.elements[i].tolist(), data.positions[i].tolist(), strict=True)
        assert sorted(sites) == sorted(site for site in whole if site[0] >= 0)


def test_a_given_order_is_kept(data):
    order = torch.arange(data.elements.shape[1], dtype=torch.float).expand_as(data.elements)
    batch = prefixes(data.space_group, data.elements, data.positions, data.length // 2, order)
    widest = batch.elements.shape[1]
    there = batch.elements >= 0
    assert torch.equal(batch.elements[there], data.elements[:, :widest][there])


def test_rows_that_have_no_tokens_are_named():
    good = WyckoffRepresentation(225, ("Na", "Cl"), ("a", "b"))
    with pytest.raises(ValueError, match="row 1: 2 sites on 4a"):
        encode([good, WyckoffRepresentation(225, ("Na", "Cl"), ("a", "a"))], VOCABULARY)
    with pytest.raises(ValueError, match="row 0: the vocabulary has no Rf"):
        encode([WyckoffRepresentation(1, ("Rf",), ("a",))], VOCABULARY)
    assert len(encode([], VOCABULARY)) == 0
    assert np.array_equal(encode([good], VOCABULARY).elements, [[10, 16]])
