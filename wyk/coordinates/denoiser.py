"""The network of the diffusion: which way the atoms and the cell of a noisy crystal should move.

Messages run along the bonds of the quotient graph, one node for each orbit of atoms. Features are scalars and vectors
(Schütt et al., PaiNN, ICML 2021); a neighbour's vectors are turned by the operation that leads to where it stands, and
sums of vectors are projected on what the site symmetry leaves: so what comes out has the symmetry of the crystal, and
turns with it.
"""

from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wyk.common import ELEMENTS
from wyk.coordinates.frames import BASIS
from wyk.crystals import element_descriptors, group_descriptors
from wyk.plumbing import Diffusion as Settings

CUTOFF = 5.0  # Å
FAR = 2.5  # usual distances
NEIGHBOURS = 25.0  # about so many: sums over them are scaled down
RADIAL = 16  # bumps over a distance
LEVELS = 16  # frequencies for the noise


@dataclass(frozen=True)
class Graph:
    """Noisy crystals, each as the graph of its orbits, side by side.

    Attributes:
        element: (n,) index into the network's elements, of each orbit.
        dof: (n,) free coordinates.
        size: (n,) atoms in the primitive cell.
        crystal: (n,) index of the crystal.
        projector: (n, 3, 3) onto the directions in which the orbit's first atom may move.
        centre, neighbour: (e,) orbits at the two ends of each bond, the first of which is at the orbit's first atom.
        vector: (e, 3) from centre to neighbour, Å.
        usual: (e,) shortest distance of their elements in real crystals, Å.
        times: (e,) how many bonds of the same orbit leave the centre.
        carrier: (e, 3, 3) rotation, from the right, from the first atom of the neighbour's orbit to the neighbour.
        noise: (crystals,) logarithm of σ in Å.
        lattice: (crystals, 6) noisy coefficients of the lattice, standardised; 0 where the family has none.
        group: (crystals,) number of the space group.
    """

    element: Tensor
    dof: Tensor
    size: Tensor
    crystal: Tensor
    projector: Tensor
    centre: Tensor
    neighbour: Tensor
    vector: Tensor
    usual: Tensor
    times: Tensor
    carrier: Tensor
    noise: Tensor
    lattice: Tensor
    group: Tensor

    @staticmethod
    def together(graphs: list["Graph"]) -> "Graph":
        """Several as one."""
        parts = {field.name: [getattr(g, field.name) for g in graphs] for field in fields(Graph)}
        for names, counts in (
            (("centre", "neighbour"), [len(g.element) for g in graphs]),
            (("crystal",), [len(g.noise) for g in graphs]),
        ):
            for name in names:
                before = torch.tensor([0, *counts[:-1]]).cumsum(0)
                parts[name] = [
                    part + shift for part, shift in zip(parts[name], before, strict=True)
                ]
        return Graph(**{name: torch.cat(tensors) for name, tensors in parts.items()})


class Layer(nn.Module):
    """A round of messages between orbits, and a step of each orbit for itself."""

    def __init__(self, d: int, radial: int):
        super().__init__()
        self.norm = nn.LayerNorm(d)
        self.speak = nn.Sequential(nn.Linear(d, d), nn.SiLU(), nn.Linear(d, 3 * d))
        self.listen = nn.Linear(d, 3 * d)
        self.filter = nn.Linear(radial, 3 * d, bias=False)
        self.mix = nn.Linear(d, 2 * d, bias=False)
        self.update = nn.Sequential(nn.Linear(2 * d, d), nn.SiLU(), nn.Linear(d, 3 * d))

    def forward(self, graph: Graph, radial: Tensor, direction: Tensor, s: Tensor, v: Tensor):
        """Scalars s (n, d) and vectors v (n, 3, d), after the round; radial is (e, radial), direction (e, 3)."""
        h = self.norm(s)
        told = (
            self.speak(h)[graph.neighbour]
            * (1 + self.listen(h)[graph.centre])
            * self.filter(radial)
        )
        scalar, along, carried = told.chunk(3, dim=-1)
        moved = graph.carrier.transpose(1, 2) @ v[graph.neighbour]
        vector = direction[:, :, None] * along[:, None] + moved * carried[:, None]
        s = s + torch.zeros_like(s).index_add_(0, graph.centre, scalar) / NEIGHBOURS**0.5
        total = torch.zeros_like(v).index_add_(0, graph.centre, vector) / NEIGHBOURS**0.5
        v = v + graph.projector @ total
        one, other = self.mix(v).chunk(2, dim=-1)
        length = (one.square().sum(1) + 1e-6).sqrt()
        a, b, c = self.update(torch.cat([s, length], -1)).chunk(3, dim=-1)
        return s + a + b * (one * other).sum(1), v + c[:, None] * one


class Denoiser(nn.Module):
    """Predicts how to move the first atom of each orbit, and how to strain the cell."""

    def __init__(self, settings: Settings, elements: tuple[str, ...]):
        super().__init__()
        self.settings, self.elements = settings, tuple(elements)
        self.index = {ELEMENTS.index(symbol) + 1: i for i, symbol in enumerate(self.elements)}
        d, radial = settings.d, 2 * RADIAL
        self.register_buffer("mean", torch.zeros(5, 6))  # of the lattices of each family
        self.register_buffer("std", torch.zeros(5, 6))
        self.register_buffer(
            "element_descriptors", element_descriptors(self.elements), persistent=False
        )
        self.register_buffer("group_descriptors", group_descriptors(), persistent=False)
        self.register_buffer("basis", torch.tensor(BASIS, dtype=torch.float32), persistent=False)
        self.element = nn.Embedding(len(self.elements), d)
        self.describe = nn.Linear(self.element_descriptors.shape[1], d, bias=False)
        self.free = nn.Embedding(4, d)
        self.level = nn.Sequential(
            nn.Linear(2 * LEVELS + 6 + self.group_descriptors.shape[1], d),
            nn.SiLU(),
            nn.Linear(d, d),
        )
        self.layers = nn.ModuleList(Layer(d, radial) for _ in range(settings.layers))
        self.move = nn.Linear(d, 1, bias=False)
        self.gate = nn.Sequential(nn.LayerNorm(d), nn.Linear(d, d))
        self.pull = nn.Linear(d, d)
        self.pulled = nn.Linear(d, d)
        self.spring = nn.Linear(radial, d, bias=False)
        self.shape = nn.Sequential(nn.LayerNorm(d), nn.Linear(d, d), nn.SiLU(), nn.Linear(d, 6))
        self.strain = nn.Linear(d, 6, bias=False)
        nn.init.normal_(self.element.weight, std=0.05)

    def forward(self, graph: Graph) -> tuple[Tensor, Tensor]:
        """(n, 3) moves of the orbits' first atoms, and (crystals, 6) strains in BASIS, both of order 1."""
        length = (graph.vector.square().sum(1) + 1e-6).sqrt()
        direction = graph.vector / length[:, None]
        radial = _radial(length, graph.usual) * graph.times[:, None]
        frequencies = torch.arange(1, LEVELS + 1) / 2
        phase = graph.noise[:, None] * frequencies
        group = self.group_descriptors[graph.group]
        level = self.level(torch.cat([phase.sin(), phase.cos(), graph.lattice, group], 1))
        s = self.element(graph.element) + self.describe(self.element_descriptors[graph.element])
        s = s + self.free(graph.dof) + level[graph.crystal]
        v = s.new_zeros(len(s), 3, s.shape[1])
        for layer in self.layers:
            s, v = layer(graph, radial, direction, s, v)
        return self.said(graph, radial, direction, s, v)

    def said(
        self, graph: Graph, radial: Tensor, direction: Tensor, s: Tensor, v: Tensor
    ) -> tuple[Tensor, ...]:
        """What `forward` returns, from the features after all layers."""
        h = self.gate(s)
        moves = self.move(v * h[:, None])[:, :, 0]
        each = F.silu(self.pull(s)[graph.centre] + self.pulled(s)[graph.neighbour]) * self.spring(
            radial
        )
        stretched = torch.einsum("ea,kab,eb->ek", direction, self.basis, direction)
        strains = self.strain(each) * stretched * graph.size[graph.centre][:, None]
        atoms = torch.zeros_like(graph.noise).index_add_(0, graph.crystal, graph.size.float())
        total = strains.new_zeros(len(graph.noise), 6).index_add_(
            0, graph.crystal[graph.centre], strains
        )
        shape = self.shape(s) * graph.size[:, None]
        total = (total / NEIGHBOURS**0.5).index_add_(0, graph.crystal, shape)
        return moves, total / atoms[:, None]


def _radial(length: Tensor, usual: Tensor) -> Tensor:
    """(e, radial) Bumps over the length, in Å and in usual distances; all end smoothly at the cutoff."""
    centres = torch.linspace(0, 1, RADIAL)
    scaled = torch.stack([length / CUTOFF, length / usual / FAR], 1)
    bumps = torch.exp(-0.5 * ((scaled[:, :, None] - centres) * (RADIAL - 1)) ** 2)
    envelope = 0.5 * (torch.cos(torch.pi * (length / CUTOFF).clamp(max=1)) + 1)
    return bumps.flatten(1) * envelope[:, None]
