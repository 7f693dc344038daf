"""CHGNet 0.3.0 on quotient graphs: the published network and weights, one node, bond and angle for each orbit.

Energies, forces and stresses equal those of `chgnet.model.CHGNet.predict_structure`. What differs is how they are
computed: sums carry multiplicities; a linear layer on concatenated features is applied to each part before it is
spread over bonds and angles; and one plain backward pass, with respect to the bonds, gives all gradients.
"""

import contextlib
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import zip_longest

import numpy as np
import torch
from chgnet.model.functions import GatedMLP
from chgnet.model.model import CHGNet
from torch import Tensor
from torch.nn.functional import linear, silu

from wyk.relaxation.quotient_graph import CUTOFF, Orbits
from wyk.relaxation.symmetric_crystal import Crystal


@dataclass(frozen=True)
class Prediction:
    """Energy of a crystal's primitive cell and its gradients.

    Attributes:
        energy: eV.
        gradient: (n, 3) with respect to the positions, eV/Å; only its invariant part is that of the crystal.
        virial: (3, 3) with respect to the strain e of positions @ (1 + e), eV; of it too.
    """

    energy: float
    gradient: np.ndarray
    virial: np.ndarray


@cache
def chgnet() -> CHGNet:
    """The potential on one CPU thread, loaded once per process."""
    torch.set_num_threads(1)
    with contextlib.redirect_stdout(io.StringIO()):  # it greets on stdout
        model = CHGNet.load(model_name="0.3.0", use_device="cpu", verbose=False)
    return model.eval().requires_grad_(False)


def predict(
    crystals: Sequence[tuple[Orbits, Crystal]],
) -> list[Prediction | ValueError]:
    """Evaluate several crystals at once.

    Args:
        crystals: of each the orbits, found before it moved so far that they do not `cover` it, and where it is.

    Returns:
        For each its prediction, or the error that stands against one: an atom without any neighbour within
        CHGNet's 6 Å, energies or gradients that are not finite.
    """
    results: dict[int, Prediction | ValueError] = {}
    parts = []
    for i, (orbits, crystal) in enumerate(crystals):
        try:
            part = _within(orbits, crystal)
            parts.append((i, crystal, part, part.vectors(crystal)))
        except ValueError as error:
            results[i] = error
    answers = _with_gradients([(part, vectors) for *_, part, vectors in parts]) if parts else []
    for (i, crystal, part, vectors), (total, gradient) in zip(parts, answers, strict=True):
        on_atoms = np.zeros_like(crystal.positions)
        np.add.at(on_atoms, part.neighbour, gradient)
        np.subtract.at(on_atoms, part.centre, gradient)
        if math.isfinite(total) and np.isfinite(gradient).all():
            results[i] = Prediction(total, on_atoms, vectors.T @ gradient)
        else:
            results[i] = ValueError("energy or forces are not finite")
    return [results[i] for i in range(len(crystals))]


def energy(orbits: Orbits, crystal: Crystal) -> float:
    """The energy of a crystal's primitive cell alone, eV.

    Raises:
        ValueError: if an atom has no neighbour within CHGNet's 6 Å, or the energy is not finite.
    """
    part = _within(orbits, crystal)
    with torch.no_grad():
        total = _energies([(part, part.vectors(crystal))])[0].double().sum().item()
    if not math.isfinite(total):
        raise ValueError("the energy is not finite")
    return total


def _within(orbits: Orbits, crystal: Crystal) -> Orbits:
    """Bonds and angles within the cutoffs, if every atom has a bond."""
    part = orbits.within(crystal)
    if np.bincount(part.ends[:, 0], minlength=len(part.nodes)).min() == 0:
        raise ValueError(f"an isolated atom: none other within {CUTOFF} Å")
    return part


def _with_gradients(parts: list[tuple[Orbits, np.ndarray]]) -> list[tuple[float, np.ndarray]]:
    """Energy of each crystal, eV, and its gradient (e, 3) by its bonds; parts as in `_energies`."""
    energy, bonds = _energies(parts)
    (gradient,) = torch.autograd.grad(energy.sum(), bonds)
    of_nodes = energy.detach().split([len(part.nodes) for part, _ in parts])
    of_bonds = gradient.split([len(vectors) for _, vectors in parts])
    totals = [each.double().sum().item() for each in of_nodes]
    return list(zip(totals, map(Tensor.numpy, of_bonds), strict=True))


def _energies(parts: list[tuple[Orbits, np.ndarray]]) -> tuple[Tensor, Tensor]:
    """Energies of all atoms of each orbit (nodes,), eV, by the bonds (e, 3) of all crystals, and those bonds.

    Args:
        parts: of each crystal the orbits within the cutoffs, and its bonds.
    """
    nodes = [len(part.nodes) for part, _ in parts]
    bonds = [len(part.first) for part, _ in parts]
    edges = [len(vectors) for _, vectors in parts]

    def joined(field: str, counts: list[int] | None = None) -> Tensor:
        """A field of all crystals; counts are of what it is an index into."""
        starts = np.cumsum([0, *counts[:-1]]) if counts else np.zeros(len(parts), int)
        shifted = [getattr(part, field) + s for (part, _), s in zip(parts, starts, strict=True)]
        return torch.from_numpy(np.concatenate(shifted))

    # Single precision comes after the geometry: cutoffs and angles near 180° would make noise of 1e-4 eV/Å.
    vectors = torch.from_numpy(np.concatenate([v for _, v in parts])).requires_grad_()
    energy = joined("sizes") * _node_energies(
        vectors,
        nodes=joined("nodes").long(),
        ends=joined("ends", nodes),
        times=joined("times").float(),
        undirected=joined("undirected", bonds),
        first=joined("first", edges),
        angle=joined("angle", edges),
        angle_bonds=joined("angle_bonds", bonds),
        angle_node=joined("angle_node", nodes),
        angle_times=joined("angle_times").float(),
    )
    return energy, vectors


def _node_energies(
    vectors, nodes, ends, times, undirected, first, angle, angle_bonds, angle_node, angle_times
) -> Tensor:
    """(nodes,) Energy of an atom of each orbit, eV.

    Args:
        vectors: (e, 3) bonds in double precision.
        the others: as in `Orbits`, which `e`, `d`, `u` and `a` are from as well.
    """
    net, gates = chgnet(), _gates()
    near, far = net.bond_basis_expansion.rbf_expansion_bg, net.bond_basis_expansion.rbf_expansion_ag
    fourier = net.angle_basis_expansion.fourier_expansion
    length = vectors.norm(dim=1)  # (e,)
    shortest = length.index_select(0, first)
    basis = far(shortest).float()
    bond = net.bond_embedding(basis)  # (u, 64)
    weight = net.bond_weights_ag(basis).index_select(0, undirected) * times[:, None]  # (d, 64)
    atom = net.atom_embedding(nodes - 1)  # (nodes, 64)
    centre, neighbour = ends.unbind(1)
    one, two = angle_bonds.unbind(1)
    if len(angle):
        # Both point away from the atom in the middle; CHGNet's own point to it, at the same angle.
        direction = vectors / length[:, None]
        sides = [direction.index_select(0, side) for side in angle.unbind(1)]
        cosine = (sides[0] * sides[1]).sum(dim=1) * (
            1 - 1e-6
        )  # as CHGNet's own, for a finite slope
        theta = net.angle_embedding(fourier(cosine.acos()).float())  # (a, 64)
        close = net.bond_weights_bg(near(shortest).float())
        fade = close.index_select(0, one) * close.index_select(0, two) * angle_times[:, None]
    for layer, (atom_gate, bond_gate, angle_gate) in enumerate(gates):
        message = atom_gate((atom, centre), (bond, undirected), (atom, neighbour)) * weight
        total = torch.zeros_like(atom).index_add(0, centre, message)
        atom = atom + net.atom_conv_layers[layer].mlp_out(total)
        if bond_gate and len(angle):
            message = bond_gate((bond, one), (bond, two), (theta, None), (atom, angle_node)) * fade
            total = torch.zeros_like(bond).index_add(0, one, message)
            bond = bond + net.bond_conv_layers[layer].mlp_out(total)
        if angle_gate and len(angle):
            theta = theta + angle_gate((bond, one), (bond, two), (theta, None), (atom, angle_node))
    energy = net.mlp(net.readout_norm(atom))[:, 0]
    return energy + net.composition_model.fc.weight[0, nodes - 1]


@cache
def _gates() -> list[tuple]:
    """The gated layers of each of the four interaction blocks; the last bond and angle layers have no use."""
    net = chgnet()
    atom = [_Gate(conv.twoBody_atom) for conv in net.atom_conv_layers]
    bond = [_Gate(conv.twoBody_bond) for conv in net.bond_conv_layers]
    angle = [_Gate(conv.twoBody_bond) for conv in net.angle_layers[:-1]]
    return list(zip_longest(atom, bond, angle))


class _Gate:
    """CHGNet's GatedMLP on concatenated terms, each of them (features, which row of them each row takes).

    A linear layer on concatenated features is a sum of linear layers on each, which are fewer before rows are taken.
    """

    def __init__(self, layer: GatedMLP):
        ways = layer.mlp_core.layers, layer.mlp_gate.layers
        core, gate = ([m for m in way if isinstance(m, torch.nn.Linear)] for way in ways)
        both = torch.cat([core[0].weight, gate[0].weight])  # (128, 64 × terms)
        self.weights = both.split(64, dim=1)
        self.bias = torch.cat([core[0].bias, gate[0].bias])
        self.hidden = (core[1], gate[1]) if len(core) == 2 else None
        self.norms = layer.bn1, layer.bn2

    def __call__(self, *terms: tuple[Tensor, Tensor | None]) -> Tensor:
        total = self.bias
        for (features, rows), weight in zip(terms, self.weights, strict=True):
            part = linear(features, weight)
            total = total + (part if rows is None else part.index_select(0, rows))
        if self.hidden:
            core, gate = silu(total).split(64, dim=1)
            core, gate = self.hidden[0](core), self.hidden[1](gate)
        else:
            core, gate = total.split(64, dim=1)
        return silu(self.norms[0](core)) * torch.sigmoid(self.norms[1](gate))
