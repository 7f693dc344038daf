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
from chgnet.model.model import CHGNet
from torch import Tensor
from torch.nn.functional import linear, silu

from wyk.invariants import Crystal
from wyk.quotient import ANGLE_CUTOFF, CUTOFF, Orbits


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
    parts, results = [], {}
    for i, (orbits, crystal) in enumerate(crystals):
        vectors = orbits.vectors(crystal)
        part = _within(orbits, vectors)
        if np.bincount(part.ends[:, 0], minlength=len(orbits.nodes)).min() == 0:
            results[i] = ValueError(f"an isolated atom: none other within {CUTOFF} Å")
        else:
            parts.append((i, vectors, part))
    if parts:
        energies, gradients = _energies([(vectors, part) for _, vectors, part in parts])
        for (i, vectors, _), energy, gradient in zip(parts, energies, gradients, strict=True):
            orbits, crystal = crystals[i]
            on_atoms = np.zeros_like(crystal.positions)
            np.add.at(on_atoms, orbits.neighbour, gradient)
            np.subtract.at(on_atoms, orbits.centre, gradient)
            if math.isfinite(energy) and np.isfinite(gradient).all():
                results[i] = Prediction(energy, on_atoms, vectors.T @ gradient)
            else:
                results[i] = ValueError("energy or forces are not finite")
    return [results[i] for i in range(len(crystals))]


@dataclass(frozen=True)
class _Part:
    """What of a crystal's orbits lies within the cutoffs; fields as in `Orbits`."""

    nodes: np.ndarray
    sizes: np.ndarray
    ends: np.ndarray
    times: np.ndarray
    undirected: np.ndarray
    first: np.ndarray
    angle: np.ndarray
    angle_bonds: np.ndarray
    angle_node: np.ndarray
    angle_times: np.ndarray


def _within(orbits: Orbits, vectors: np.ndarray) -> _Part:
    length = np.linalg.norm(vectors, axis=1)[orbits.first]
    near, short = length <= CUTOFF, length < ANGLE_CUTOFF
    new = np.cumsum(near) - 1
    bonds = near[orbits.undirected]
    angles = short[orbits.angle_bonds].all(axis=1)
    return _Part(
        nodes=orbits.nodes,
        sizes=orbits.sizes,
        ends=orbits.ends[bonds],
        times=orbits.times[bonds],
        undirected=new[orbits.undirected[bonds]],
        first=orbits.first[near],
        angle=orbits.angle[angles],
        angle_bonds=new[orbits.angle_bonds[angles]],
        angle_node=orbits.angle_node[angles],
        angle_times=orbits.angle_times[angles],
    )


def _energies(parts: list[tuple[np.ndarray, _Part]]) -> tuple[list[float], list[np.ndarray]]:
    """Energies of crystals in eV, and the gradient of each with respect to its bonds (e, 3)."""

    def joined(field: str, step: str | None = None) -> Tensor:
        """A field of all crystals, as indices into another, if there is a step."""
        arrays = [getattr(part, field) for _, part in parts]
        if step:
            starts = np.cumsum([0] + [counts[step] for counts in sizes[:-1]])
            arrays = [array + start for array, start in zip(arrays, starts, strict=True)]
        return torch.from_numpy(np.concatenate(arrays))

    sizes = [{"nodes": len(p.nodes), "bonds": len(p.first), "edges": len(v)} for v, p in parts]
    # Single precision comes after the geometry: near 180° a rounded cosine makes noise of 1e-4 eV/Å.
    vectors = torch.from_numpy(np.concatenate([v for v, _ in parts])).requires_grad_()
    energy = _node_energies(
        vectors,
        nodes=joined("nodes"),
        ends=joined("ends", "nodes"),
        times=joined("times").float(),
        undirected=joined("undirected", "bonds"),
        first=joined("first", "edges"),
        angle=joined("angle", "edges"),
        angle_bonds=joined("angle_bonds", "bonds"),
        angle_node=joined("angle_node", "nodes"),
        angle_times=joined("angle_times").float(),
    ) * joined("sizes")
    (gradient,) = torch.autograd.grad(energy.sum(), vectors)
    counts = [size["nodes"] for size in sizes]
    energies = [part.double().sum().item() for part in energy.detach().split(counts)]
    gradients = gradient.split([size["edges"] for size in sizes])
    return energies, [part.double().numpy() for part in gradients]


def _node_energies(
    vectors, nodes, ends, times, undirected, first, angle, angle_bonds, angle_node, angle_times
) -> Tensor:
    """(nodes,) Energy of an atom of each orbit, eV; the arguments are those of `Orbits`, within the cutoffs."""
    net, gates = chgnet(), _gates()
    near, far = net.bond_basis_expansion.rbf_expansion_bg, net.bond_basis_expansion.rbf_expansion_ag
    fourier = net.angle_basis_expansion.fourier_expansion
    length = vectors.norm(dim=1)  # (e,)
    shortest = length.index_select(0, first)
    basis = far(shortest).float()
    bond = net.bond_embedding(basis)  # (u, 64)
    weight = net.bond_weights_ag(basis).index_select(0, undirected) * times[:, None]  # (d, 64)
    atom = net.atom_embedding(nodes.long() - 1)  # (nodes, 64)
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
    return energy + net.composition_model.fc.weight[0, nodes.long() - 1]


@cache
def _gates() -> list[tuple]:
    """The gated layers of each of the four interaction blocks; the last bond and angle layers have no use."""
    net = chgnet()
    atom = [_Gate(conv.twoBody_atom) for conv in net.atom_conv_layers]
    bond = [_Gate(conv.twoBody_bond) for conv in net.bond_conv_layers]
    angle = [_Gate(conv.twoBody_bond) for conv in net.angle_layers[:-1]]
    return list(zip_longest(atom, bond, angle))


class _Gate:
    """CHGNet's GatedMLP on concatenated terms, each of them (features, which row of them each row takes)."""

    def __init__(self, layer):
        core, gate = (
            [m for m in way.layers if hasattr(m, "weight")]
            for way in (layer.mlp_core, layer.mlp_gate)
        )
        self.weights = torch.cat([core[0].weight, gate[0].weight]).split(
            64, dim=1
        )  # (128, 64) per term
        self.bias = torch.cat([core[0].bias, gate[0].bias])
        self.hidden = list(zip(core[1:], gate[1:], strict=True))
        self.norms = layer.bn1, layer.bn2

    def __call__(self, *terms: tuple[Tensor, Tensor | None]) -> Tensor:
        parts = [
            linear(features, weight)
            for (features, _), weight in zip(terms, self.weights, strict=True)
        ]
        total = self.bias
        for part, (_, rows) in zip(parts, terms, strict=True):
            total = total + (part if rows is None else part.index_select(0, rows))
        for core, gate in self.hidden:
            one, two = silu(total).split(64, dim=1)
            core, gate = core(one), gate(two)
        if not self.hidden:
            core, gate = total.split(64, dim=1)
        return silu(self.norms[0](core)) * torch.sigmoid(self.norms[1](gate))
