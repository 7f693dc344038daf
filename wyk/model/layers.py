"""Layers of the network that know nothing of crystals."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

IMPOSSIBLE = -1e4  # minus infinity would leave no gradient where a row has no other class


class Dropout(nn.Module):
    """Dropout that draws eight decisions from one random integer: four times faster on a CPU than torch's own."""

    def __init__(self, p: float):
        super().__init__()
        self.threshold = round(256 * p)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not self.threshold:
            return x
        words = torch.empty((x.numel() + 7) // 8, dtype=torch.int64, device=x.device)
        bits = words.random_(-(2**63), 2**63 - 1).view(torch.uint8)[: x.numel()]
        return x * (bits.view(x.shape) >= self.threshold) * (256 / (256 - self.threshold))


class Attention(nn.Module):
    """Multi-head attention of queries to contexts, with a residual feed-forward block (pre-norm)."""

    def __init__(self, d: int, heads: int, feedforward: int, dropout: float):
        super().__init__()
        self.heads = heads
        self.norm_query, self.norm_context = nn.LayerNorm(d), nn.LayerNorm(d)
        self.query, self.key_value, self.out = (
            nn.Linear(d, d),
            nn.Linear(d, 2 * d),
            nn.Linear(d, d),
        )
        self.dropout = Dropout(dropout)
        self.feedforward = nn.Sequential(
            nn.LayerNorm(d),
            nn.Linear(d, feedforward * d),
            nn.GELU(),
            Dropout(dropout),
            nn.Linear(feedforward * d, d),
            Dropout(dropout),
        )

    def forward(
        self, x: Tensor, context: Tensor, mask: Tensor, row: Tensor | None = None
    ) -> Tensor:
        """Attend from x (q, m, d) to context (b, n, d), of which mask (b, n) or (b, m, n) says what to see.

        row (q,) names the context of each query; without it q = b.
        """
        split = (self.heads, x.shape[-1] // self.heads)
        query = self.query(self.norm_query(x)).unflatten(-1, split).transpose(1, 2)
        key_value = self.key_value(self.norm_context(context))
        if row is not None:
            key_value, mask = key_value[row], mask[row]
        if mask.dim() == 2:
            mask = mask[:, None]
        key, value = key_value.unflatten(-1, (2, *split)).unbind(2)  # (q, n, heads, d / heads)
        attended = F.scaled_dot_product_attention(
            query, key.transpose(1, 2), value.transpose(1, 2), attn_mask=mask[:, None]
        )
        x = x + self.dropout(self.out(attended.transpose(1, 2).flatten(2)))
        return x + self.feedforward(x)


def by_kind(logits: Tensor, kind: Tensor, known: Tensor) -> Tensor:
    """log p (b, elements + 1) of what is next: first its kind, then the element among those of the kind.

    One softmax over everything would let the noise in ninety logits of new elements speak for a new element.

    Args:
        logits: (b, elements).
        kind: (b, 3) logits of a new element, a known one and STOP.
        known: (b, elements) which elements are there.
    """
    impossible = torch.stack([known.all(1), ~known.any(1), torch.zeros_like(known[:, 0])], 1)
    kind = kind.masked_fill(impossible, -torch.inf).log_softmax(-1)
    new, old = (logits.masked_fill(~those, IMPOSSIBLE).log_softmax(-1) for those in (~known, known))
    return torch.cat([torch.where(known, old + kind[:, 1:2], new + kind[:, :1]), kind[:, 2:]], 1)


class Head(nn.Module):
    """A fully connected network from the output on a MASK token to logits."""

    def __init__(self, width: int, classes: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, 2 * width),
            nn.GELU(),
            nn.Linear(2 * width, classes),
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
