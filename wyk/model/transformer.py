"""The network: an encoder of the known sites, and three heads that name the next one (paper, §3.2).

p(next site | known sites) = p(element | ·) · p(site symmetry | element, ·) · p(enumeration | both, ·), or STOP.
There is no positional encoding, and the known sites are sorted on the way in, so the prediction does not depend
on their order, to the last bit. (With `attention: causal`, which is there for comparison, it does.)
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wyk.crystals import element_descriptors, group_descriptors
from wyk.model.charge_balance import Charges
from wyk.model.layers import Attention, Head, Presence, by_kind
from wyk.model.tokenization import position_descriptors, tables
from wyk.plumbing import Model as Settings

EMBEDDING_STD = 0.05  # small, so that descriptors speak before what is learned of each class alone


@dataclass
class Context:
    """What is known of a batch of structures, encoded once and asked many times.

    Attributes:
        tokens: (b, 1 + known, d); the first is the space group. A list of them in an ensemble.
        mask: (b, 1 + known) which tokens are there.
        space_group: (b,) numbers.
        presence: (b, elements) how many known sites each element has.
        atoms: (b, elements) how many atoms they hold, in the conventional cell.
        occupied: (b, symmetries) how many known sites each site symmetry has.
        free: (b, symmetries, enumerations) which positions of the group another site may take.
        empty: (b,) whether nothing is known yet.
    """

    tokens: Tensor | list[Tensor]
    mask: Tensor
    space_group: Tensor
    presence: Tensor
    atoms: Tensor
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
        for name in ("symmetry", "enumeration", "multiplicity", "dof", "lookup"):
            self.register_buffer(name, getattr(t, name), persistent=False)
        for name, values in (
            ("element_descriptors", element_descriptors(self.elements)),
            ("group_descriptors", group_descriptors()),
            ("position_descriptors", position_descriptors()),
        ):
            self.register_buffer(name, values * settings.descriptors, persistent=False)

        # the last row of each part is MASK: a part of the token that is not known yet
        self.embed_element = nn.Embedding(len(self.elements) + 1, d)
        self.embed_symmetry = nn.Embedding(n_symmetries + 1, d)
        self.embed_enumeration = nn.Embedding(n_enumerations + 1, d)
        self.embed_group = nn.Embedding(231, d)
        self.embed_count = nn.Embedding(8, d)  # distinct elements so far
        if settings.balance:
            self.charges = Charges(self.elements)
            self.embed_balance = nn.Embedding(3, d)
            self.balance_bonus = nn.Linear(d, 1)
        self.describe_element = nn.Linear(self.element_descriptors.shape[1], d, bias=False)
        self.describe_group = nn.Linear(self.group_descriptors.shape[1], d, bias=False)
        self.describe_position = nn.Linear(self.position_descriptors.shape[1], d, bias=False)

        for embedding in self.children():
            if isinstance(embedding, nn.Embedding):
                nn.init.normal_(embedding.weight, std=EMBEDDING_STD)

        sizes = (d, settings.heads, settings.feedforward, settings.dropout)
        self.encoder = nn.ModuleList(Attention(*sizes) for _ in range(settings.encoder_layers))
        self.asker = nn.ModuleList(Attention(*sizes) for _ in range(settings.query_layers))

        concatenated = settings.presence == "concatenated"
        width = d + (len(self.elements) + n_symmetries) * concatenated
        self.element_head = Head(width, len(self.elements) + 1)
        self.symmetry_head = Head(width, n_symmetries)
        self.enumeration_head = Head(width, n_enumerations)
        if not concatenated:
            self.element_presence = Presence(d, len(self.elements))
            self.symmetry_presence = Presence(d, n_symmetries)
        if settings.presence == "kinds":
            self.kind_head = Head(d, 3)

    def encode(self, space_group: Tensor, elements: Tensor, positions: Tensor) -> Context:
        """Encode the known sites.

        Args:
            space_group: (b,) numbers.
            elements, positions: (b, known) in any order, -1 for none.
        """
        if self.settings.attention == "set":
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
        atoms = torch.zeros_like(presence)
        atoms.scatter_add_(1, elements, count * self.multiplicity[positions])
        occupied = count.new_zeros(len(elements), self.lookup.shape[1])
        occupied.scatter_add_(1, self.symmetry[positions], count)
        distinct = (presence > 0).sum(1).clamp(max=self.embed_count.num_embeddings - 1)
        group = group + self.embed_count(distinct)
        if self.settings.balance:
            group = group + self.embed_balance(self.charges.balance(atoms))

        tokens = torch.cat([group[:, None], sites], 1)  # (b, 1 + known, d): no positions
        mask = torch.cat([torch.ones_like(there[:, :1]), there], 1)
        if self.asker:
            tokens = self._encoded(tokens, mask)
        return Context(
            tokens=tokens,
            mask=mask,
            space_group=space_group,
            presence=presence,
            atoms=atoms,
            occupied=occupied,
            free=self._free(space_group, positions, there),
            empty=~there.any(1),
        )

    def ask(self, context: Context, row: Tensor, element: Tensor, symmetry: Tensor) -> Tensor:
        """The output on tokens whose unknown parts are MASK, each in the context of a row (q,).

        MASK is the index after the last class. All queries of a batch in one call cost less than one by one.

        Returns:
            (q, d), or with concatenated presence (q, d + elements + symmetries).
        """
        mask = torch.full_like(element, self.lookup.shape[2])
        query = self._token(element, symmetry, mask)[:, None]
        if self.asker:  # known sites are encoded once, and do not see the question
            query = query + context.tokens[row, :1]
            for layer in self.asker:
                query = layer(query, context.tokens, context.mask, row)
        else:  # the paper's way: the question is one more token of the encoder
            tokens = torch.cat([query, context.tokens[row]], 1)
            there = torch.ones_like(context.mask[row, :1])
            query = self._encoded(tokens, torch.cat([there, context.mask[row]], 1))
        answer = query[:, 0]
        if self.settings.presence == "concatenated":
            known = torch.cat([context.presence, context.occupied], 1) > 0
            answer = torch.cat([answer, known[row].float()], 1)
        return answer

    def element_logits(
        self, context: Context, formal_masks: bool = True, answer: Tensor | None = None
    ) -> Tensor:
        """Logits of the next element or STOP, (b, elements + 1); answer is that of `ask`, if there is one."""
        if answer is None:
            row = torch.arange(len(context.space_group), device=context.mask.device)
            element = torch.full_like(row, len(self.elements))
            answer = self.ask(context, row, element, torch.full_like(row, self.lookup.shape[1]))
        logits = self.element_head(answer)
        answer = answer[:, : self.settings.d]
        described = answer @ self.describe_element(self.element_descriptors).T
        if self.settings.presence != "concatenated":
            described = described + self.element_presence(answer, context.presence)
        logits = logits + F.pad(described, (0, 1))
        if self.settings.presence == "kinds":
            logits = by_kind(logits[:, :-1], self.kind_head(answer), context.presence > 0)
        if formal_masks:  # a crystal has at least one site
            logits[:, -1] = logits[:, -1].masked_fill(context.empty, -torch.inf)
        return logits

    def symmetry_logits(
        self,
        context: Context,
        row: Tensor,
        element: Tensor,
        formal_masks: bool = True,
        answer: Tensor | None = None,
    ) -> Tensor:
        """Logits of the site symmetry, (q, symmetries), given elements (q,) and the rows (q,) they belong to."""
        if answer is None:
            mask = torch.full_like(element, self.lookup.shape[1])
            answer = self.ask(context, row, element, mask)
        logits = self.symmetry_head(answer)
        answer = answer[:, : self.settings.d]
        # positions of a group that share their site symmetry share multiplicity and descriptors
        first = self.lookup[context.space_group[row], :, 0].clamp(min=0)
        if self.settings.presence != "concatenated":
            logits = logits + self.symmetry_presence(answer, context.occupied[row])
        if self.settings.balance:
            balanced = self.charges.balanced_by(
                element, self.multiplicity[first], context.atoms[row]
            )
            logits = logits + self.balance_bonus(answer) * balanced
        for feature, weight in zip(
            self.position_descriptors.T,
            (answer @ self.describe_position.weight).T,
            strict=True,
        ):
            logits = logits + feature[first] * weight[:, None]
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
        answer: Tensor | None = None,
    ) -> Tensor:
        """Logits of the enumeration, (q, enumerations), given element and site symmetry (q,) of rows (q,)."""
        if answer is None:
            answer = self.ask(context, row, element, symmetry)
        logits = self.enumeration_head(answer)
        if formal_masks:
            logits = logits.masked_fill(~context.free[row, symmetry], -torch.inf)
        return logits

    def _encoded(self, tokens: Tensor, mask: Tensor) -> Tensor:
        if self.settings.attention == "causal":  # each token sees those before it
            mask = mask[:, None] & mask.new_ones(mask.shape[1], mask.shape[1]).tril()
        for layer in self.encoder:
            tokens = layer(tokens, tokens, mask)
        return tokens

    def _token(self, element: Tensor, symmetry: Tensor, enumeration: Tensor) -> Tensor:
        """Sum of the embeddings of a token's parts."""
        described = F.pad(self.element_descriptors, (0, 0, 0, 1))  # MASK has none
        return (
            (self.embed_element.weight + self.describe_element(described))[element]
            + self.embed_symmetry(symmetry)
            + self.embed_enumeration(enumeration)
        )

    def _free(self, space_group: Tensor, positions: Tensor, there: Tensor) -> Tensor:
        """Which positions exist in the group and are not a fixed set of points that is taken already."""
        free = self.lookup[space_group] >= 0
        row, column = (there & (self.dof[positions] == 0)).nonzero(as_tuple=True)
        taken = positions[row, column]
        free[row, self.symmetry[taken], self.enumeration[taken]] = False
        return free


def most_sites(model: WyckoffTransformer) -> int:
    """After how many sites a sample ends: twice as many as any crystal has that the model learned from."""
    return 2 * model.config["most_sites"]
