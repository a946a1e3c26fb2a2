"""Grows easy tasks into harder and rarer ones, drops what failed, and trains on what is left."""

from __future__ import annotations

import functools
import random
from dataclasses import dataclass, replace

from evolvent.credit.advantage import imitate_all
from evolvent.curriculum import Uniform
from evolvent.effects import Observation, arm, compare_tasks
from evolvent.envs import Toolbox
from evolvent.errors import BadInput
from evolvent.evals.measure import Suite
from evolvent.plans import Card, Improve, Phase
from evolvent.records import Origin, Private, Task, said
from evolvent.rollouts.seat import Budgets
from evolvent.rollouts.workflows import Demonstrate, single
from evolvent.seeds import derive, stream
from evolvent.synthesis.evolve import evolve
from evolvent.synthesis.evolve_programs import OPERATORS, RULES, draw_program
from evolvent.tasks.procedural import split_of
from evolvent.tasks.word_programs import task_of
from evolvent.training.losses import Likelihood, token_mean
from evolvent.training.optim import AdamW, Muon, Schedule

CARD = Card(
    name="evol_instruct",
    title="Evol-Instruct",
    paper="arXiv:2304.12244",
    changes=("synthesis",),
    claim="evolved tasks teach more than as many seeds, and elimination is needed where the evolver fails",
    verdict="shown",
)

SEEDS, EVOLVED, UNSCREENED = FAMILIES = ("seeds", "evolved", "unscreened")
LEVELS = (1, 2)  # of evolution, each ROUNDS_PER_LEVEL rounds
ROUNDS_PER_LEVEL = 2
USED = ("add step", "breadth", "deepen")
WARM_UP = Schedule(warmup_steps=20)
MAX_TRIES = 60  # one task in eight is held out, and a test task must come from a test task


@dataclass(frozen=True)
class Evolved:
    """Programs of one step, what they evolve to, and what they evolve to where nothing is dropped.

    A share `broken_frac` of training children comes back broken, as from a model that writes what it cannot solve.
    Held-out tasks are evolved without faults.
    """

    num_each: int = 1024
    broken_frac: float = 0.0
    num_letters: int = 3  # at first
    seed: int = 0

    @property
    def families(self) -> tuple[str, ...]:
        """The seeds, and what became of them in two ways."""
        return FAMILIES

    def levels(self, family: str) -> tuple[int, ...]:
        """How often the seeds were evolved, in pairs of rounds."""
        return (0,) if family == SEEDS else LEVELS

    def num_tasks(self, family: str, level: int, split: str) -> int | None:
        """As many seeds to train on as evolved tasks; no end of held-out ones, but none that nobody screened."""
        if split == "train":
            return self.num_each * (len(LEVELS) if family == SEEDS else 1)
        return 0 if family == UNSCREENED else None

    def task(self, family: str, level: int, index: int, split: str = "train") -> Task:
        """What seed `index` has become."""
        if family not in FAMILIES or level not in self.levels(family):
            raise BadInput("no such cell", got=f"{family}:{level}", wanted=f"{EVOLVED}:{LEVELS[0]}, and the like")
        source = self if split == "train" else replace(self, broken_frac=0.0)
        return replace(grown(source, family, index, split)[level * ROUNDS_PER_LEVEL], family=family, level=level)


@functools.lru_cache(maxsize=1 << 14)
def grown(source: Evolved, family: str, index: int, split: str) -> tuple[Task, ...]:
    """A seed and what it has become after each round; pure in its arguments."""
    rng = stream(source.seed, "programs", split, index)
    program = draw_program(rng, source.num_letters, 1)
    while split_of("programs", program.terse) != split:
        program = draw_program(rng, source.num_letters, 1)
    root = task_of(program, f"{family}-{split}-{index}", Origin("programs"), family=family, level=0, split=split)
    if family == SEEDS:
        return (root,)
    operators = {name: Faulty(name, source.broken_frac) for name in USED}
    rules = (elsewhere, *(RULES if family == EVOLVED else ()))
    num_rounds, chance = LEVELS[-1] * ROUNDS_PER_LEVEL, derive(source.seed, index)
    made = evolve([root], operators, rules, num_rounds=num_rounds, seed=chance, max_tries=MAX_TRIES)
    return tuple(leaves[0] for leaves in made.rounds)


def elsewhere(child: Task, parent: Task) -> str:
    """A child whose words belong to the other split would tell one the other's tasks."""
    return "" if split_of("programs", child.question) == child.split else "of the other split"


@dataclass(frozen=True, slots=True)
class Faulty:
    """An operator that breaks a share of what it makes: a wrong answer, that of the parent, or none at all."""

    name: str
    broken_frac: float

    def __call__(self, task: Task, rng: random.Random) -> Task:
        """Another task of one, and sometimes a bad one."""
        child = OPERATORS[self.name](task, rng)
        if rng.random() >= self.broken_frac:
            return child
        assert child.private is not None and task.private is not None
        right = child.private.answer
        swapped = "".join(rng.sample(right, len(right)))
        wrong = rng.choice((swapped if swapped != right else right + "a", task.private.answer, ""))
        return replace(child, private=Private(wrong, child.private.data, (said("assistant", wrong),)))


def build() -> Improve:
    """Imitation of the worked solutions of seeds, then of what four rounds of evolution made of them."""
    loss, fast = Likelihood(token_mean), Muon(0.02, AdamW(3e-3, schedule=WARM_UP))
    return Improve(
        recipe="evol_instruct",
        source=Evolved(),
        world=Toolbox(()),
        workflow=single,
        practice_workflow=Demonstrate(),
        curriculum=Uniform(len(LEVELS), (EVOLVED,)),
        advantage=imitate_all,
        loss=loss,
        optimizer=Muon(0.01, AdamW(1.5e-3, schedule=WARM_UP)),  # at 0.02 more of the seeds is forgotten
        cold_start=Phase(120, 32, 1, Demonstrate(), Uniform(1, (SEEDS,)), imitate_all, loss, fast),
        num_steps=200,
        tasks_per_step=32,
        group_size=1,
        budgets=Budgets(turn_tokens=64, context_tokens=256, episode_tokens=64),
        num_threads=1,
    )


def effect(seed: int) -> list[Observation]:
    """2,048 tasks each: seeds alone, evolved and screened, evolved and not; a quarter of what is evolved is broken."""
    plan = replace(build(), source=Evolved(broken_frac=0.25), suite=Suite(192, 192, 16, len(LEVELS), best_of=1))
    curricula = (Uniform(len(LEVELS), (family,)) for family in (EVOLVED, SEEDS, UNSCREENED))
    treated, on_seeds, on_all = (arm(replace(plan, curriculum=one), seed) for one in curricula)
    return [
        compare_tasks("evolved tasks teach more than as many seeds", "greater", treated, on_seeds, levels=LEVELS),
        compare_tasks("elimination is needed where the evolver fails", "greater", treated, on_all, levels=LEVELS),
    ]
