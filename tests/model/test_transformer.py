"""The network, on the embedded crystals."""

import hashlib
import itertools
import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from wyk.common.weights import save
from wyk.crystals.descriptors import VOCABULARY
from wyk.crystals.representation import WyckoffRepresentation
from wyk.crystals.spacegroups import space_group
from wyk.likelihood.sequences import log_p
from wyk.model import checkpoint
from wyk.model.tokenization import encode, prefixes, tables
from wyk.model.transformer import WyckoffTransformer
from wyk.training.objective import loss


def logits(model, space_group, elements, positions):
    with torch.no_grad():
        context = model.encode(space_group, elements, positions)
        row = torch.arange(len(space_group))
        element, symmetry = torch.full_like(row, 7), model.symmetry[positions[:, 0].clamp(min=0)]
        return (
            model.element_logits(context),
            model.symmetry_logits(context, row, element),
            model.enumeration_logits(context, row, element, symmetry),
        )


def test_prediction_does_not_depend_on_the_order_of_known_sites(model, data):
    """To the last bit; and it does depend on which sites are known."""
    known = (data.length - 1).clamp(min=1)
    batch = prefixes(data.space_group, data.elements, data.positions, known)
    expected = logits(model, batch.space_group, batch.elements, batch.positions)
    for seed in range(5):
        order = torch.rand(
            batch.elements.shape, generator=torch.Generator().manual_seed(seed)
        ).argsort(1)
        shuffled = (batch.elements.gather(1, order), batch.positions.gather(1, order))
        context = model.encode(batch.space_group, *shuffled)
        with torch.no_grad():
            assert torch.equal(model.element_logits(context), expected[0])
            row, element = torch.arange(len(order)), torch.full((len(order),), 7)
            assert torch.equal(model.symmetry_logits(context, row, element), expected[1])
    swapped = batch.elements.where(batch.elements != batch.elements[0, 0], 8)
    assert not torch.equal(
        logits(model, batch.space_group, swapped, batch.positions)[0], expected[0]
    )


def test_padding_changes_nothing(model, data):
    known = (data.length - 1).clamp(min=1)
    batch = prefixes(data.space_group, data.elements, data.positions, known)
    wider = [
        torch.nn.functional.pad(x, (0, 3), value=-1) for x in (batch.elements, batch.positions)
    ]
    for a, b in zip(
        logits(model, batch.space_group, batch.elements, batch.positions),
        logits(model, batch.space_group, *wider),
        strict=True,
    ):
        assert torch.allclose(a, b, atol=1e-5)


def test_probabilities_of_all_sets_sum_to_one(model):
    """Exact: over everything that one group can hold, the cascade is a distribution; STOP included."""
    triclinic = torch.tensor(
        [1]
    )  # group 1 has one position, general: elements and STOP are all there is
    empty = torch.full((1, 1), -1)
    with torch.no_grad():
        context = model.encode(triclinic, empty, empty)
        element = model.element_logits(context).softmax(-1)
        row, every = torch.zeros(len(VOCABULARY), dtype=torch.long), torch.arange(len(VOCABULARY))
        symmetry = model.symmetry_logits(context, row, every).softmax(-1)
    assert element[0, -1] == 0  # nothing is no crystal
    assert torch.isclose(element.sum(), torch.tensor(1.0))
    assert torch.allclose(symmetry.max(-1).values, torch.ones(len(VOCABULARY)))  # one site symmetry


def test_loss_is_the_expectation_over_orders(model):
    """The loss over all prefixes equals −log p averaged over all orders, counted out by hand."""
    representation = WyckoffRepresentation(62, ("O", "Ti", "O"), ("c", "a", "c"))
    data = encode([representation], VOCABULARY)
    orders = list(itertools.permutations(range(3)))
    exact = -log_p(model, data, torch.tensor([orders], dtype=torch.float))[0].mean().item()
    total = 0.0
    for known in range(4):
        values = []
        for order in orders:  # every subset of `known` sites, equally often
            batch = prefixes(
                data.space_group,
                data.elements,
                data.positions,
                torch.tensor([known]),
                torch.tensor([order], dtype=torch.float),
            )
            values.append(loss(model, batch).item())
        total += np.mean(values)
    assert total == pytest.approx(exact, abs=1e-4)


def test_formal_masks_leave_only_what_the_group_has(model):
    taken = encode([WyckoffRepresentation(225, ("Na",), ("a",))], VOCABULARY)
    context = model.encode(taken.space_group, taken.elements, taken.positions)
    row, element = torch.tensor([0]), torch.tensor([16])
    cubic = model.symmetry[taken.positions[0, :1]]
    with torch.no_grad():
        masked = model.enumeration_logits(context, row, element, cubic)[0]
        free = model.enumeration_logits(context, row, element, cubic, formal_masks=False)[0]
        symmetries = model.symmetry_logits(context, row, element)[0]
    assert masked.isfinite().tolist() == [False, True] + 6 * [False]  # 4a is taken, 4b is not
    assert free.isfinite().all()
    offered = {tables().symmetries[i] for i in symmetries.isfinite().nonzero().ravel().tolist()}
    assert offered == {p.site_symmetry for p in space_group(225).positions}


def test_damaged_and_foreign_models_are_named(folder, model, tmp_path):
    with pytest.raises(FileNotFoundError, match="has no model.safetensors"):
        checkpoint.load(tmp_path)
    copy = tmp_path / "copy"

    def damaged(change):
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(folder, copy)
        change()
        with pytest.raises(ValueError, match="copy") as error:  # the file is named
            checkpoint.load(copy)
        return str(error.value)

    def tamper(**changes):
        config = json.loads((copy / "config.json").read_text()) | changes
        (copy / "config.json").write_text(json.dumps(config))

    assert "changed after" in damaged(lambda: tamper(seed=4))
    assert "format 99" in damaged(lambda: tamper(format=99))
    assert "no elements: ['Zz']" in damaged(lambda: tamper(elements=["H", "Zz"]))
    assert "not a config" in damaged(lambda: (copy / "config.json").write_text("{"))
    assert "not a config" in damaged(lambda: tamper(model={"d": 16, "size": 3}))
    weights = copy / "model.safetensors"
    assert "damaged" in damaged(lambda: weights.write_bytes(weights.read_bytes()[:1000]))
    assert "damaged" in damaged(lambda: weights.write_bytes(b"\x80\x04pickle"))

    def other_architecture():
        bigger = WyckoffTransformer(model.settings.model_copy(update={"d": 32}), VOCABULARY)
        config = json.loads((copy / "config.json").read_text())
        save(copy, [bigger], config)
        text = (copy / "config.json").read_text().replace('"d": 32', '"d": 16')
        (copy / "config.json").write_text(text)

    assert "changed after" in damaged(other_architecture)

    def forged(scale=1.0, **changes):
        """Weights and config of a stranger, who has written the config's hash into the weights."""
        tamper(**changes)
        tensors = {name: tensor * scale for name, tensor in load_file(weights).items()}
        digest = hashlib.sha256((copy / "config.json").read_bytes()).hexdigest()
        save_file(tensors, weights, {"config_sha256": digest})

    vast = model.settings.model_dump() | {"d": 2**20}
    assert "does not fit" in damaged(lambda: forged(model=vast))
    assert "does not fit" in damaged(lambda: forged(members=10**9))
    assert "NaN or infinite" in damaged(lambda: forged(scale=float("nan")))
    assert "impossible" in damaged(lambda: forged(most_sites=10**9))
    assert "space_group_counts" in damaged(lambda: forged(space_group_counts={"231": 1}))
    shutil.rmtree(copy)
    shutil.copytree(folder, copy)
    checkpoint.load(copy)  # undamaged, it loads
