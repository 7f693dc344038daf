"""The next site of samples under conditions: what may come, with which probability, and one that is drawn.

What the look-ahead forbids has none; how much that takes away is said, too, and counts as a weight.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from wyk.model import Context, Ensemble, WyckoffTransformer
from wyk.sampling.growth import draw_class
from wyk.sampling.outlook import Outlook


@dataclass
class Question:
    """What may come next in u contexts.

    Attributes:
        context, ahead: what is known, and what may follow.
        log: (u, elements + 1) log-probability of each element, and of STOP; -inf for what may not come.
        log_mass: (u,) log of the probability of what may come.
    """

    context: Context
    ahead: Outlook
    log: Tensor
    log_mass: Tensor

    @classmethod
    def of(
        cls,
        model: WyckoffTransformer | Ensemble,
        context: Context,
        ahead: Outlook,
        need: Tensor,
        over: bool,
        temperature: float,
    ) -> "Question":
        """What may come next.

        Args:
            model: the model.
            context, ahead: what is known, and what may follow.
            need: (u,) the element that must come next, -1 for any.
            over: whether nothing but STOP may come, as the samples are as long as they may be.
            temperature: of the softmax.
        """
        log = (model.element_logits(context, True).double() / temperature).log_softmax(1)
        classes = log.shape[1]
        if over:
            log[:] = F.one_hot(torch.tensor(classes - 1), classes).log()
        open_ones = torch.cat([ahead.offered, ahead.stop[:, None]], 1)
        open_ones &= F.one_hot(need.clamp(min=0), classes).bool() | (need < 0)[:, None]
        masked = log.masked_fill(~open_ones, -torch.inf)
        return cls(context, ahead, masked, masked.logsumexp(1))

    def answer(
        self,
        model: WyckoffTransformer | Ensemble,
        of: Tensor,
        temperature: float,
        generator: torch.Generator,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The next site of samples whose contexts are (r,).

        Returns:
            Element and position, -1 for STOP, and the log of the probability of the positions that may be taken;
            each (r,).
        """
        n_elements = len(model.elements)
        drawn = draw_class(self.log, of, generator=generator)
        log_mass = torch.zeros(len(of), dtype=torch.double)
        element, position = torch.full((2, len(of)), -1)
        row = (drawn < n_elements).nonzero().ravel()
        element[row] = drawn[row]
        question, which = (of[row] * n_elements + drawn[row]).unique(return_inverse=True)
        place, kind = question // n_elements, question % n_elements
        open_ones = self.ahead.positions(place, kind)

        logits = model.symmetry_logits(self.context, place, kind, True).double() / temperature
        log = logits.log_softmax(1)
        masked = log.masked_fill(~open_ones.any(2), -torch.inf)
        mass = masked.logsumexp(1)
        possible = mass[which] > -torch.inf
        log_mass[row] += mass[which]
        row, which = row[possible], which[possible]
        symmetry = draw_class(masked, which, generator=generator)

        n_symmetries = log.shape[1]
        question, again = (which * n_symmetries + symmetry).unique(return_inverse=True)
        earlier, chosen = question // n_symmetries, question % n_symmetries
        logits = (
            model.enumeration_logits(
                self.context, place[earlier], kind[earlier], chosen, True
            ).double()
            / temperature
        )
        log = logits.log_softmax(1)
        masked = log.masked_fill(~open_ones[earlier, chosen], -torch.inf)
        log_mass[row] += masked.logsumexp(1)[again]
        enumeration = draw_class(masked, again, generator=generator)
        position[row] = model.lookup[self.context.space_group[place[earlier]], chosen][
            again, enumeration
        ]
        return element, position, log_mass
