"""Several models that predict as one."""

import math
from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor, nn

from wyk.model.transformer import Context, WyckoffTransformer


class Ensemble(nn.Module):
    """Several models that predict as one, by the mean of their probabilities of each part of the next token."""

    def __init__(self, members: Iterable[WyckoffTransformer]):
        super().__init__()
        self.members = nn.ModuleList(members)
        self.settings, self.elements = self.members[0].settings, self.members[0].elements
        for name in ("symmetry", "enumeration", "dof", "lookup"):
            self.register_buffer(name, getattr(self.members[0], name), persistent=False)

    def encode(self, space_group: Tensor, elements: Tensor, positions: Tensor) -> Context:
        """As `WyckoffTransformer.encode`; tokens are a list, one of each member."""
        contexts = [m.encode(space_group, elements, positions) for m in self.members]
        return replace(contexts[0], tokens=[context.tokens for context in contexts])

    def element_logits(self, context: Context, *arguments) -> Tensor:
        """As `WyckoffTransformer.element_logits`, normalised."""
        return self._mean("element_logits", context, *arguments)

    def symmetry_logits(self, context: Context, *arguments) -> Tensor:
        """As `WyckoffTransformer.symmetry_logits`, normalised."""
        return self._mean("symmetry_logits", context, *arguments)

    def enumeration_logits(self, context: Context, *arguments) -> Tensor:
        """As `WyckoffTransformer.enumeration_logits`, normalised."""
        return self._mean("enumeration_logits", context, *arguments)

    def _mean(self, part: str, context: Context, *arguments) -> Tensor:
        log_p = [
            getattr(member, part)(replace(context, tokens=tokens), *arguments).log_softmax(-1)
            for member, tokens in zip(self.members, context.tokens, strict=True)
        ]
        return torch.stack(log_p).logsumexp(0) - math.log(len(log_p))
