"""Process rewards from preference trees: attempts that begin alike are merged, outcomes flow back to their steps."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from evolvent.credit.advantage import Standardized
from evolvent.credit.batch import Credit
from evolvent.credit.spread import credit_steps
from evolvent.effects import Observation, Spent
from evolvent.models import ModelSpec
from evolvent.plans import Card, Improve
from evolvent.policies.build import build_policy
from evolvent.recipes import circle
from evolvent.records import Group
from evolvent.rewards.process import (
    StepPair,
    Tree,
    beam_search,
    best_of,
    grow,
    last,
    mean,
    sibling_pairs,
    spans_from_tree,
    whole_pairs,
)
from evolvent.seeds import derive, stream
from evolvent.tasks.planted import NUM_STEPS, SLIPS, Chain, Part, Try, attempt, draw_chain, go_on, steps_of
from evolvent.training.optim import AdamW, Muon
from evolvent.training.ranking import Asked, Ranking, RewardModel

CARD = Card(
    name="openprm",
    title="OpenPRM: process reward models from preference trees",
    paper="OpenReview fGIqGfmgkW (ICLR 2025)",
    changes=("rewards", "credit", "training"),
    claim="scores of whole answers, merged in a tree, tell which step was wrong, and train a better scorer of steps",
    verdict="unstable",
    note=(
        "Among whole attempts the advantage is one of noise: where outcomes are told wrongly in 20 % of cases "
        "and not in 35 %, one fitted to whole answers picked a right one of 8 more often (0.79 to 0.89 against 0.65 to "
        "0.83, development seed), though it could not rank prefixes (AUC 0.58 against 0.88)."
    ),
)

Whole = Callable[[Sequence[float]], float]

NUM_TASKS = 512  # held out, a seed
DELTA = 0.3


@dataclass(frozen=True, slots=True)
class TreeCredit:
    """Scores of a group's attempts to credit for their turns: V(node) - V(parent), standardised, then to go.

    The tree is grown here and not by a judge (`FromTree`), so that a fault in one attempt changes no score of another.
    """

    ddof: int
    eps: float
    tau: float = 1.0

    def __call__(self, scores: Sequence[float]) -> list[float]:
        """What is left of it where nothing is known of steps."""
        return Standardized(self.ddof, self.eps)(scores)

    def by_trace(self, groups: Sequence[Group]) -> list[list[Credit]]:
        """An array per trace, a number for each of its tokens."""
        return [list(credit_steps(self.with_spans(group), self.ddof, self.eps)) for group in groups]

    def with_spans(self, group: Group) -> Group:
        """The group with a score for every turn."""
        found = zip(group.traces, spans_from_tree(group.traces, self.tau), strict=True)
        return replace(group, traces=tuple(replace(t, score=t.score and replace(t.score, spans=s)) for t, s in found))


def build() -> Improve:
    """The main job on lines that each need the one before; a turn is a step, and a group's own tree scores it."""
    return replace(circle.build(), recipe="openprm", source="steps", advantage=TreeCredit(ddof=1, eps=1e-4))


# ---------------------------------------------------------------- the effect


def effect(seed: int) -> list[Observation]:
    """Where values fall, in true trees against permuted and smaller ones; then two scorers fitted to as many pairs."""
    return [*locate(seed), *rank(seed)]


def locate(seed: int) -> list[Observation]:
    """The step that loses most is the planted one."""
    many: list[float] = []
    permuted: list[float] = []
    few: list[float] = []
    for number in range(NUM_TASKS):
        rng = stream(seed, "openprm", "locate", number)
        chain = draw_chain(rng)
        tries = [attempt(chain, rng, clean=0.0), *(attempt(chain, rng) for _ in range(31))]
        steps, rewards = [t.steps for t in tries], [t.reward for t in tries]
        wrong_at = tries[0].wrong_at
        many.append(float(_fall(grow(steps, rewards)) == wrong_at))
        permuted.append(float(_fall(grow(steps, rng.sample(rewards, len(rewards)))) == wrong_at))
        few.append(float(_fall(grow(steps[:8], rewards[:8])) == wrong_at))
    return [
        Observation("values fall at the planted mistake", "greater", "location accuracy", tuple(many), tuple(permuted)),
        Observation("32 attempts find it more often than 8", "greater", "location accuracy", tuple(many), tuple(few)),
    ]


def _fall(tree: Tree) -> int:
    """The step of the first attempt at which its value falls most."""
    gains = tree.gains(0)
    return gains.index(min(gains))


FIT = Ranking(Muon(lr=0.02, rest=AdamW(lr=1e-2)), num_steps=150, pairs_per_step=32)
NUM_TREES, TREE_SIZE, MIN_LEAVES = 1200, 32, 3  # for training; what rests on one or two noisy outcomes is no pair
NUM_TRIES, WIDTH = 8, 2  # of best-of-N, and of the beam, which samples as many steps


def rank(seed: int) -> list[Observation]:
    """A scorer fitted to siblings against one fitted to as many whole answers, each used as it was meant."""
    by_step, whole = pairs(seed)
    num = min(len(by_step), len(whole))
    (prm, cost), (orm, cost_orm) = fit(by_step[:num], seed), fit(whole[:num], seed)
    best = chosen_right(prm, mean, seed)
    rows = (
        (
            "siblings teach to rank clean prefixes first",
            "AUC",
            told_apart(prm, mean, seed),
            told_apart(orm, last, seed),
        ),
        ("the best of 8 by the mean of its steps is right more often", "accuracy", best, chosen_right(orm, last, seed)),
        ("a beam of steps is right more often than the best of 8", "accuracy", searched_right(prm, seed), best),
    )
    spent = ((cost, cost_orm), (cost, cost_orm), (cost, cost))
    return [  # whole answers are longer than prefixes, so the same number of pairs has more tokens
        Observation(claim, "greater", metric, ours, theirs, mine, its, token_tolerance=0.5)
        for (claim, metric, ours, theirs), (mine, its) in zip(rows, spent, strict=True)
    ]


def fit(some: Sequence[tuple[Asked, Asked]], seed: int) -> tuple[RewardModel, Spent]:
    """A scorer of 0.1M weights from scratch, and what it cost."""
    start = time.perf_counter()
    drawn = derive(seed, "openprm", "scorer") >> 1
    model = RewardModel(build_policy(ModelSpec(depth=2), name="agent", seed=drawn), drawn)
    FIT(model, some, seed)
    return model, Spent(model.num_tokens, FIT.num_steps, time.perf_counter() - start)


def pairs(seed: int) -> tuple[list[tuple[Asked, Asked]], list[tuple[Asked, Asked]]]:
    """Sibling pairs, and pairs of whole answers, of the same attempts at training chains."""
    by_step: list[tuple[Asked, Asked]] = []
    whole: list[tuple[Asked, Asked]] = []
    for number in range(NUM_TREES):
        rng = stream(seed, "openprm", "train", number)
        chain = draw_chain(rng)
        tries = [attempt(chain, rng) for _ in range(TREE_SIZE)]
        steps, rewards = [t.steps for t in tries], [t.reward for t in tries]
        by_step += [_asked(chain, p) for p in sibling_pairs(grow(steps, rewards), DELTA, MIN_LEAVES)]
        whole += [_asked(chain, p) for p in whole_pairs(["".join(s) for s in steps], rewards, DELTA)]
    for found in (by_step, whole):
        stream(seed, "openprm", "order").shuffle(found)
    return by_step, whole


def _asked(chain: Chain, pair: StepPair) -> tuple[Asked, Asked]:
    return (chain.prompt, (*pair.prefix, pair.chosen)), (chain.prompt, (*pair.prefix, pair.rejected))


def told_apart(model: RewardModel, whole: Whole, seed: int) -> tuple[float, ...]:
    """For each held-out chain 1 where a clean prefix scores higher than one as long with a mistake in it."""
    asked: list[Asked] = []
    for number in range(NUM_TASKS):
        rng = stream(seed, "openprm", "test", number)
        chain, length, slip = draw_chain(rng), rng.randint(1, NUM_STEPS), rng.choice(SLIPS)
        wrong_at = rng.randrange(length)
        asked += [(chain.prompt, chain.steps(*how)[:length]) for how in ((NUM_STEPS, 0), (wrong_at, slip))]
    scores = [whole(steps) for steps in model.steps(asked)]
    return tuple((a > b) + (a == b) / 2 for a, b in zip(scores[::2], scores[1::2], strict=True))


def chosen_right(model: RewardModel, whole: Whole, seed: int) -> tuple[float, ...]:
    """For each held-out chain 1 where the best of 8 attempts by the model has no mistake."""
    tries: list[list[Try]] = []
    asked: list[Asked] = []
    for number in range(NUM_TASKS):
        rng = stream(seed, "openprm", "best", number)
        chain = draw_chain(rng)
        tries.append([attempt(chain, rng) for _ in range(NUM_TRIES)])
        asked += [(chain.prompt, t.steps) for t in tries[-1]]
    scores = iter(model.steps(asked))
    return tuple(float(some[best_of([next(scores) for _ in some], whole)].wrong_at == NUM_STEPS) for some in tries)


def searched_right(model: RewardModel, seed: int) -> tuple[float, ...]:
    """For each held-out chain 1 where a beam that samples as many steps as 8 attempts ends without a mistake."""
    rngs = [stream(seed, "openprm", "beam", number) for number in range(NUM_TASKS)]
    chains = [draw_chain(stream(seed, "openprm", "best", number)) for number in range(NUM_TASKS)]

    def expand(number: int, beam: Sequence[Part]) -> list[Part]:
        return [go_on(one, rngs[number]) for one in beam for _ in range(NUM_TRIES // len(beam))]

    def score(grown: Sequence[tuple[int, Part]]) -> list[float]:
        asked = [(chains[number].prompt, steps_of(chains[number], part)) for number, part in grown]
        return [mean(steps) for steps in model.steps(asked)]

    ends = beam_search([Part() for _ in chains], expand, score, width=WIDTH, num_steps=NUM_STEPS)
    return tuple(float(part.wrong_at == NUM_STEPS) for part in ends)
