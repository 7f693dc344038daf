"""Samples under conditions that free samples seldom fulfil: sequential Monte Carlo over sites.

Elements that are required come first. A set of n sites, k of which hold the element, begins with one of them in
k of n orders, so it counts n / k; what a look-ahead forbids counts by the probability it takes away. Orders of one
set are not quite equally likely to the model: a finished sample counts by its mean likelihood over some orders.
Samples that count little are given up and others continued several times as soon as their weights differ much, and
in the end samples are chosen by their weights. (Doucet & Johansen, A tutorial on particle filtering and smoothing,
2009, §4; Andrieu & Roberts, Ann. Statist. 37, 697 (2009), for weights that are themselves estimated.)
"""

import logging

import torch
import torch.nn.functional as F
from torch import Tensor

from wyk.likelihood import log_p
from wyk.model import Encoded, Ensemble, WyckoffTransformer, most_sites, tables
from wyk.sampling.conditions import Conditions
from wyk.sampling.growth import TOKENS
from wyk.sampling.outlook import Outlook
from wyk.sampling.populations import Population, compact, effective, families, systematic, total
from wyk.sampling.questions import Question
from wyk.sampling.starts import Starts

PREFIXES = 16_384  # samples while required elements come: alike ones cost little
PARTICLES = 16_384  # samples grown at once, at most
FEWEST = 512  # at least
SPARE = 4  # samples to choose from for each one that is asked for
ENOUGH = 1.5  # of these, effective ones
ROUNDS = 8  # populations, before what there is is taken
ORDERS = 4  # of the sites of a finished sample, to average its likelihood over
LOWEST = 0.5  # effective share of a population below which it is renewed


class NothingFoundError(ValueError):
    """No sample met the conditions, although nothing that is known beforehand stands in the way."""


def draw(
    model: WyckoffTransformer | Ensemble,
    starts: Starts,
    prior: Tensor,
    stratum: Tensor,
    counts: Tensor,
    temperature: float,
    conditions: Conditions,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor, Tensor]:
    """Samples that follow p(crystal | conditions) of a model.

    Args:
        model: the model.
        starts: s of them, each able to meet the conditions.
        prior: (s,) probability of each, up to a factor.
        stratum: (s,) which set of starts each belongs to; each set is sampled for itself.
        counts: (strata,) how many samples of each.
        temperature: of all three heads.
        conditions: what every sample must fulfil.
        generator: of everything random.

    Returns:
        Space group (n,), elements and positions (n, sites), those of the first stratum first, in random order.

    Raises:
        NothingFoundError: if no sample of a stratum met the conditions.
    """
    run = Run(model, starts, stratum, temperature, conditions, generator)
    needed, strata = counts * SPARE, len(counts)
    least, most = FEWEST // strata + 1, PARTICLES // strata + 1
    size = int((needed.max() * 1.25).long().clamp(least, most))
    finished, pool, rounds = [], [], 0
    while rounds < ROUNDS:
        finished.append(run.population(prior, size))
        rounds += 1
        found = Population.together(finished)
        of = stratum[found.start]
        enough = effective(found.weight, of, strata)
        if (enough < needed).any() and rounds < ROUNDS:
            continue
        if (enough == 0).any() and pool:
            break  # the last population found nothing; earlier ones did
        if (enough == 0).any():
            raise NothingFoundError(
                f"none of {ROUNDS * size:,} samples met the conditions; they may contradict one another, "
                "or the model has never seen the like"
            )
        # more than are needed, by what they count so far: the likelihood of other orders takes most of the time
        each = total(found.weight, of, strata) - (needed.clamp(min=1) * len(finished)).log()
        several = found[systematic(found.weight, of, needed, generator)]
        several.weight = each[stratum[several.start]] + run.log_exchange(several)
        pool.append(several)
        finished = []
        together = Population.together(pool)
        of = stratum[together.start]
        different = effective(together.weight, of, strata).minimum(
            effective(*families(together, of), strata)
        )
        if (different >= ENOUGH * counts).all():
            break
    if (different < ENOUGH * counts).any():
        logging.getLogger(__name__).warning(
            "the conditions are seldom met: %d samples stand for about %d different ones",
            counts.sum(),
            different.sum(),
        )
    of = stratum[together.start]
    chosen = together[systematic(together.weight, of, counts, generator)]
    key = stratum[chosen.start] + torch.rand(len(chosen), generator=generator, dtype=torch.double)
    chosen = chosen[key.argsort()]
    return chosen.group, *compact(chosen)


class Run:
    """Populations of one question; arguments as in `draw`."""

    def __init__(
        self,
        model: WyckoffTransformer | Ensemble,
        starts: Starts,
        stratum: Tensor,
        temperature: float,
        conditions: Conditions,
        generator: torch.Generator,
    ):
        self.model, self.starts, self.stratum = model, starts, stratum
        self.conditions, self.temperature, self.generator = conditions, temperature, generator
        self.strata = int(stratum.max()) + 1
        self.given = (starts.elements >= 0).sum(1)
        there = F.one_hot(starts.elements + 1, len(model.elements) + 1)[..., 1:].any(1)
        self.lacking = conditions.required & ~there  # (s, elements), by start
        self.longest = most_sites(model) + starts.elements.shape[1]
        self.order = self._order()
        self.names = 0  # of ancestors, given so far

    @torch.no_grad()
    def _order(self) -> Tensor:
        """The required elements, those first that seldom come first (elements,)."""
        required = self.conditions.required.nonzero().ravel()
        counts = {int(g): n for g, n in self.model.config["space_group_counts"].items()}
        groups, nothing = torch.tensor(list(counts)), torch.full((len(counts), 1), -1)
        p = self.model.element_logits(self.model.encode(groups, nothing, nothing)).softmax(1)
        mean = torch.tensor(list(counts.values()), dtype=p.dtype) @ p
        return required[mean[required].argsort()]

    @torch.no_grad()
    def population(self, prior: Tensor, size: int) -> Population:
        """Finished samples, about `size` of each stratum, with their weights."""
        known, steps = self.starts.elements.shape[1], self.longest - self.starts.elements.shape[1]
        n = len(prior)
        alive = Population(
            torch.arange(n),
            self.starts.space_group,
            F.pad(self.starts.elements, (0, steps + 1), value=-1),
            F.pad(self.starts.positions, (0, steps + 1), value=-1),
            prior.double().log(),
            torch.arange(n),
        )
        state, finished, apart = torch.arange(n), [], False
        done = torch.full((self.strata,), -torch.inf, dtype=torch.double)  # log of what they count
        for site in range(known, self.longest + 1):
            state, order = state.sort(stable=True)
            alive = alive[order]
            state = state.unique_consecutive(return_inverse=True)[1]
            forced = self._forced(alive, site - known)
            first = F.pad(state.diff(), (1, 0), value=1) > 0
            questions = self._ask(alive[first], forced[first], site)
            alive.weight += torch.cat([q.log_mass for q in questions])[state]
            alive, state = self._renewed(alive, state, forced, done, size)
            if not apart and (forced < 0).all():  # from here on, each goes its own way
                alive.ancestor = self.names + torch.arange(len(alive))
                self.names, apart = self.names + len(alive), True
            if not len(alive):
                break  # none can go on
            element, position = self._answered(alive, state, questions)
            possible = alive.weight > -torch.inf
            alive, state = alive[possible], state[possible]
            element, position = element[possible], position[possible]
            going = element >= 0
            ended = alive[~going]
            ended.weight += self.log_orders(ended)
            finished.append(ended)
            done = done.logaddexp(total(ended.weight, self.stratum[ended.start], self.strata))
            alive.elements[going, site], alive.positions[going, site] = (
                element[going],
                position[going],
            )
            state = (state * len(self.model.elements) + element) * len(tables().group) + position
            alive, state = alive[going], state[going]
            if not len(alive):
                break
        return Population.together(finished) if finished else alive

    def _forced(self, alive: Population, step: int) -> Tensor:
        """The element that must come next (p,), -1 where any may."""
        lacking = self.lacking[alive.start][:, self.order]
        # the step-th of those that the start lacks
        at = lacking & (lacking.cumsum(1) == step + 1)
        found = at.any(1)
        if not found.any():
            return torch.full((len(alive),), -1)
        return self.order[at.long().argmax(1)].where(found, -1)

    def _ask(self, alive: Population, forced: Tensor, site: int) -> list[Question]:
        """What may come next, in batches of different contexts."""
        questions = []
        for rows in torch.arange(len(alive)).split(max(TOKENS // (site + 1), 1)):
            known = slice(max(site, 1))
            context = self.model.encode(
                alive.group[rows], alive.elements[rows, known], alive.positions[rows, known]
            )
            sites = (alive.elements[rows, known] >= 0).sum(1)
            ahead = Outlook(self.model, context, sites, self.conditions)
            over = site == self.longest
            questions.append(
                Question.of(self.model, context, ahead, forced[rows], over, self.temperature)
            )
        return questions

    def _renewed(
        self, alive: Population, state: Tensor, forced: Tensor, done: Tensor, size: int
    ) -> tuple[Population, Tensor]:
        """The population without what cannot go on, and with weights made alike where they differ much.

        Each sample then counts about as much as those that have ended, so that `size` of them end in all.

        Args:
            alive: samples whose weights hold what may come next.
            state: (p,) of each, in rising order.
            forced: (p,) which element must come next, -1 for any.
            done: (strata,) log of what the samples count that have ended.
            size: how many samples of each stratum are to end.
        """
        possible = alive.weight > -torch.inf
        alive, state = alive[possible], state[possible]
        stratum = self.stratum[alive.start]
        present = torch.bincount(stratum, minlength=self.strata)
        value = alive.weight + self.log_orders(alive)
        sums = total(value, stratum, self.strata)
        required = bool((forced >= 0).any())
        target = max(size, PREFIXES // self.strata) if required else size
        counts = (target * (sums - sums.logaddexp(done)).exp()).nan_to_num(nan=0).ceil().long()
        enough = effective(value, stratum, self.strata)
        uneven = (enough < LOWEST * counts) | (counts < LOWEST * present) | required
        uneven &= counts > 0
        counts = counts.where(uneven, 0)
        chosen = systematic(value, stratum, counts, self.generator)
        rows = torch.cat([chosen, (~uneven[stratum]).nonzero().ravel()]).sort().values
        alive, state, stratum = alive[rows], state[rows], stratum[rows]
        even = (sums - counts.clamp(min=1).log())[stratum] - self.log_orders(alive)
        alive.weight = even.where(uneven[stratum], alive.weight)
        return alive, state

    def _answered(
        self, alive: Population, state: Tensor, questions: list[Question]
    ) -> tuple[Tensor, Tensor]:
        """Element and position of the next site of each sample, -1 for STOP; their weights are updated."""
        element, position = torch.full((2, len(alive)), -1)
        begin = 0
        for question in questions:
            end = begin + len(question.log)
            rows = ((state >= begin) & (state < end)).nonzero().ravel()
            if len(rows):
                element[rows], position[rows], log_mass = question.answer(
                    self.model, state[rows] - begin, self.temperature, self.generator
                )
                alive.weight[rows] += log_mass
            begin = end
        return element, position

    def log_orders(self, samples: Population) -> Tensor:
        """Log of n! over the number of orders in which a set of n sites could have come, (p,)."""
        there, start = samples.elements >= 0, samples.start
        n = there.sum(1)
        sites = torch.zeros(len(n), len(self.model.elements), dtype=torch.double)
        sites.scatter_add_(1, samples.elements.clamp(min=0), there.double())
        lacking = self.lacking[start] & (sites > 0)
        ways = sites.log().where(lacking, 0).sum(1)
        ways += torch.lgamma((n - self.given[start] - lacking.sum(1)).double() + 1)
        width = self.starts.elements.shape[1]
        for i in range(width):  # a given site could be any one like it, those of earlier ones aside
            same = (samples.elements == samples.elements[:, i : i + 1]) & there
            same &= samples.positions == samples.positions[:, i : i + 1]
            like = same.sum(1) - same[:, :i].sum(1)
            ways += like.double().log().where(there[:, i], 0)
        return torch.lgamma(n.double() + 1) - ways

    def log_exchange(self, samples: Population) -> Tensor:
        """Log of the mean likelihood over some orders of the sites over that in the order they came, (p,)."""
        elements, positions = compact(samples)
        n, widest = elements.shape
        none = torch.zeros(n, dtype=torch.long)
        length = (elements >= 0).sum(1)
        data = Encoded(samples.group, length, elements, positions, positions[:0], none, none)
        came = torch.arange(widest).expand(n, 1, widest).float()
        others = torch.rand(n, ORDERS, widest, generator=self.generator)
        order = torch.cat([came, others], 1)
        log, _ = log_p(self.model, data, order, True, self.temperature, self.longest)
        return log[:, 1:].logsumexp(1) - log[:, 0]
