"""The network: an encoder of the known sites, and three heads that name the next one (paper, §3.2).

p(next site | known sites) = p(element | ·) · p(site symmetry | element, ·) · p(enumeration | both, ·), or STOP.
There is no positional encoding, and the known sites are sorted on the way in, so the prediction does not depend
on their order, to the last bit.
"""

import warnings
from dataclasses import dataclass

import gemmi
import torch
import torch.nn.functional as F
from pymatgen.core import Element
from torch import Tensor, nn

from wyk.params import Model as Settings
from wyk.tokenization import tables

EMBEDDING_STD = 0.05  # small, so that descriptors speak before what is learned of each class alone


class Attention(nn.Module):
    """Multi-head attention of queries to contexts, with a residual feed-forward block (pre-norm)."""

    def __init__(self, d: int, heads: int, feedforward: int, dropout: float):
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.norm_query, self.norm_context = nn.LayerNorm(d), nn.LayerNorm(d)
        self.query, self.key_value, self.out = (
            nn.Linear(d, d),
            nn.Linear(d, 2 * d),
            nn.Linear(d, d),
        )
        self.feedforward = nn.Sequential(
            nn.LayerNorm(d),
            nn.Linear(d, feedforward * d),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(feedforward * d, d),
            nn.Dropout(dropout),
        )

    def forward(
        self, x: Tensor, context: Tensor, mask: Tensor, row: Tensor | None = None
    ) -> Tensor:
        """Attend from x (q, m, d) to context (b, n, d), of which mask (b, n) says what is there.

        row (q,) names the context of each query; without it q = b.
        """
        split = (self.heads, x.shape[-1] // self.heads)
        query = self.query(self.norm_query(x)).unflatten(-1, split).transpose(1, 2)
        key, value = (
            self.key_value(self.norm_context(context)).unflatten(-1, (2, *split)).unbind(2)
        )  # (b, n, heads, d / heads)
        if row is not None:
            key, value, mask = key[row], value[row], mask[row]
        attended = F.scaled_dot_product_attention(
            query,
            key.transpose(1, 2),
            value.transpose(1, 2),
            attn_mask=mask[:, None, None],
            dropout_p=self.dropout if self.training else 0.0,
        )
        x = x + self.out(attended.transpose(1, 2).flatten(2))
        return x + self.feedforward(x)


@dataclass
class Context:
    """What is known of a batch of structures, encoded once and asked many times.

    Attributes:
        tokens: (b, 1 + known, d); the first is the space group.
        mask: (b, 1 + known) which tokens are there.
        space_group: (b,) numbers.
        presence: (b, elements) how many known sites each element has.
        occupied: (b, symmetries) how many known sites each site symmetry has.
        free: (b, symmetries, enumerations) which positions of the group another site may take.
        empty: (b,) whether nothing is known yet.
    """

    tokens: Tensor
    mask: Tensor
    space_group: Tensor
    presence: Tensor
    occupied: Tensor
    free: Tensor
    empty: Tensor


class WyckoffTransformer(nn.Module):
    """The model of a set of Wyckoff positions given a space group.

    Args:
        settings: sizes and switches.
        elements: the vocabulary of elements; STOP is the class after the last one.
    """

    def __init__(self, settings: Settings, elements: tuple[str, ...]):
        super().__init__()
        self.settings, self.elements = settings, tuple(elements)
        t, d = tables(), settings.d
        n_symmetries, n_enumerations = t.lookup.shape[1:]
        for name in ("symmetry", "enumeration", "dof", "lookup"):
            self.register_buffer(name, getattr(t, name), persistent=False)
        for name, values in (
            ("element_descriptors", element_descriptors(self.elements)),
            ("group_descriptors", group_descriptors()),
            ("position_descriptors", position_descriptors()),
        ):
            self.register_buffer(name, values, persistent=False)

        # the last row of each part is MASK: a part of the token that is not known yet
        self.embed_element = nn.Embedding(len(self.elements) + 1, d)
        self.embed_symmetry = nn.Embedding(n_symmetries + 1, d)
        self.embed_enumeration = nn.Embedding(n_enumerations + 1, d)
        self.embed_group = nn.Embedding(231, d)
        self.embed_count = nn.Embedding(8, d)  # distinct elements so far
        self.describe_element = nn.Linear(self.element_descriptors.shape[1], d, bias=False)
        self.describe_group = nn.Linear(self.group_descriptors.shape[1], d, bias=False)
        self.describe_position = nn.Linear(self.position_descriptors.shape[1], d, bias=False)

        for embedding in self.children():
            if isinstance(embedding, nn.Embedding):
                nn.init.normal_(embedding.weight, std=EMBEDDING_STD)

        sizes = (d, settings.heads, settings.feedforward, settings.dropout)
        self.encoder = nn.ModuleList(Attention(*sizes) for _ in range(settings.encoder_layers))
        self.asker = nn.ModuleList(Attention(*sizes) for _ in range(settings.query_layers))

        self.element_head = Head(d, len(self.elements) + 1)
        self.symmetry_head = Head(d, n_symmetries)
        self.enumeration_head = Head(d, n_enumerations)
        self.element_presence = Presence(d, len(self.elements))
        self.symmetry_presence = Presence(d, n_symmetries)

    def encode(self, space_group: Tensor, elements: Tensor, positions: Tensor) -> Context:
        """Encode the known sites.

        Args:
            space_group: (b,) numbers.
            elements, positions: (b, known) in any order, -1 for none.
        """
        order = (elements * len(self.symmetry) + positions).argsort(1, descending=True)
        elements, positions = elements.gather(1, order), positions.gather(1, order)
        there = elements >= 0
        elements, positions = elements.clamp(min=0), positions.clamp(min=0)  # hidden by the mask

        sites = self._token(
            elements, self.symmetry[positions], self.enumeration[positions]
        ) + self.describe_position(self.position_descriptors[positions])
        group = self.embed_group(space_group) + self.describe_group(
            self.group_descriptors[space_group]
        )
        count = there.float()
        presence = count.new_zeros(len(elements), len(self.elements))
        presence.scatter_add_(1, elements, count)
        occupied = count.new_zeros(len(elements), self.lookup.shape[1])
        occupied.scatter_add_(1, self.symmetry[positions], count)
        distinct = (presence > 0).sum(1).clamp(max=self.embed_count.num_embeddings - 1)
        group = group + self.embed_count(distinct)

        tokens = torch.cat([group[:, None], sites], 1)  # (b, 1 + known, d): no positions
        mask = torch.cat([torch.ones_like(there[:, :1]), there], 1)
        for layer in self.encoder:
            tokens = layer(tokens, tokens, mask)
        return Context(
            tokens=tokens,
            mask=mask,
            space_group=space_group,
            presence=presence,
            occupied=occupied,
            free=self._free(space_group, positions, there),
            empty=~there.any(1),
        )

    def element_logits(self, context: Context, formal_masks: bool = True) -> Tensor:
        """Logits of the next element or STOP, (b, elements + 1)."""
        masked = torch.full_like(context.space_group, len(self.elements))
        h = self._ask(context, None, masked, None)
        logits = self.element_head(h)
        bonus = self.element_presence(h, context.presence)
        logits = logits + F.pad(
            bonus + h @ self.describe_element(self.element_descriptors).T, (0, 1)
        )
        if formal_masks:  # a crystal has at least one site
            logits[:, -1] = logits[:, -1].masked_fill(context.empty, -torch.inf)
        return logits

    def symmetry_logits(
        self, context: Context, row: Tensor, element: Tensor, formal_masks: bool = True
    ) -> Tensor:
        """Logits of the site symmetry, (q, symmetries), given elements (q,) and the rows (q,) they belong to."""
        h = self._ask(context, row, element, None)
        logits = self.symmetry_head(h) + self.symmetry_presence(h, context.occupied[row])
        # positions of a group that share their site symmetry share their descriptors: those of the first
        first = self.lookup[context.space_group[row], :, 0].clamp(min=0)
        described = self.position_descriptors[first]  # (q, symmetries, features)
        logits = logits + (described @ (h @ self.describe_position.weight).unsqueeze(-1)).squeeze(
            -1
        )
        if formal_masks:
            logits = logits.masked_fill(~context.free.any(-1)[row], -torch.inf)
        return logits

    def enumeration_logits(
        self,
        context: Context,
        row: Tensor,
        element: Tensor,
        symmetry: Tensor,
        formal_masks: bool = True,
    ) -> Tensor:
        """Logits of the enumeration, (q, enumerations), given element and site symmetry (q,) of rows (q,)."""
        logits = self.enumeration_head(self._ask(context, row, element, symmetry))
        if formal_masks:
            logits = logits.masked_fill(~context.free[row, symmetry], -torch.inf)
        return logits

    def _token(
        self, element: Tensor, symmetry: Tensor | None, enumeration: Tensor | None
    ) -> Tensor:
        """Sum of the embeddings of a token's parts; None is MASK."""
        described = F.pad(self.element_descriptors, (0, 0, 0, 1))  # MASK has none
        token = self.embed_element(element) + self.describe_element(described[element])
        for embedding, part in (
            (self.embed_symmetry, symmetry),
            (self.embed_enumeration, enumeration),
        ):
            token = token + (embedding.weight[-1] if part is None else embedding(part))
        return token

    def _ask(
        self, context: Context, row: Tensor | None, element: Tensor, symmetry: Tensor | None
    ) -> Tensor:
        """The output (q, d) on a token whose unknown parts are MASK."""
        query = self._token(element, symmetry, None)
        group = context.tokens[:, 0] if row is None else context.tokens[row, 0]
        query = (query + group)[:, None]
        for layer in self.asker:
            query = layer(query, context.tokens, context.mask, row)
        return query[:, 0]

    def _free(self, space_group: Tensor, positions: Tensor, there: Tensor) -> Tensor:
        """Which positions exist in the group and are not a fixed set of points that is taken already."""
        free = self.lookup[space_group] >= 0
        row, column = (there & (self.dof[positions] == 0)).nonzero(as_tuple=True)
        taken = positions[row, column]
        free[row, self.symmetry[taken], self.enumeration[taken]] = False
        return free


class Head(nn.Module):
    """A fully connected network from the output on a MASK token to logits."""

    def __init__(self, d: int, classes: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.LayerNorm(d), nn.Linear(d, 2 * d), nn.GELU(), nn.Linear(2 * d, classes)
        )

    def forward(self, h: Tensor) -> Tensor:
        return self.layers(h)


class Presence(nn.Module):
    """The presence of a class among the known sites, as a bonus on its logit."""

    def __init__(self, d: int, classes: int):
        super().__init__()
        self.bonus = nn.Linear(d, 3)
        self.of_class = nn.Parameter(torch.zeros(classes))

    def forward(self, h: Tensor, count: Tensor) -> Tensor:
        """h (q, d), count (q, classes) of known sites of each class → (q, classes)."""
        present, more, absent = self.bonus(h).unsqueeze(1).unbind(-1)
        there = (count > 0).float()
        return there * (present + self.of_class) + torch.log1p(count) * more + (1 - there) * absent


def element_descriptors(elements: tuple[str, ...]) -> Tensor:
    """Standardised properties of elements, (elements, features): where they stand, how big, how greedy."""
    rows = []
    with warnings.catch_warnings(
        action="ignore"
    ):  # pymatgen announces every value it does not have
        for symbol in elements:
            e = Element(symbol)
            states = e.common_oxidation_states or (0,)
            radius = e.atomic_radius or e.atomic_radius_calculated or 1.5
            electronegativity = e.X if e.X == e.X else 0.0  # NaN for most noble gases
            kinds = (e.is_lanthanoid, e.is_actinoid, e.is_transition_metal, e.is_halogen)
            kinds += (e.is_noble_gas, e.is_metalloid, *(e.block == block for block in "spdf"))
            rows.append(
                [e.group, e.row, electronegativity, float(radius), e.mendeleev_no]
                + [max(states), min(states), *map(float, kinds)]
            )
    features = torch.tensor(rows, dtype=torch.float32).reshape(len(elements), -1)
    return (features - features.mean(0)) / (features.std(0, correction=0) + 1e-6)


def group_descriptors() -> Tensor:
    """One-hot crystal system, point group and centring, and inversion, of each space group, (231, features)."""
    groups = [gemmi.find_spacegroup_by_number(number) for number in range(1, 231)]
    columns = []
    for names in (
        [g.crystal_system_str() for g in groups],
        [g.point_group_hm() for g in groups],
        [g.hm[0] for g in groups],
    ):
        columns += [[float(name == value) for name in names] for value in sorted(set(names))]
    columns.append([float(g.is_centrosymmetric()) for g in groups])
    columns.append([float(g.is_symmorphic()) for g in groups])
    return F.pad(torch.tensor(columns).T, (0, 0, 1, 0))


def position_descriptors() -> Tensor:
    """Multiplicity, order of the site symmetry and degrees of freedom of each position, (1731, features)."""
    t = tables()
    general = torch.zeros(231, dtype=torch.long).scatter_reduce(0, t.group, t.multiplicity, "amax")
    order = general[t.group] / t.multiplicity
    return torch.cat(
        [
            t.multiplicity.log2()[:, None] / 3,
            order.log2()[:, None] / 3,
            F.one_hot(t.dof, 4).float(),
        ],
        1,
    )
