"""A challenger is paid where its solver is of two minds, and the solver learns from what most of its attempts say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from evolvent.credit.advantage import Standardized, imitate_all
from evolvent.curriculum import Uniform
from evolvent.effects import Observation, arm, compare_steps
from evolvent.envs import Toolbox
from evolvent.evals.measure import Suite
from evolvent.models import ModelSpec
from evolvent.plans import Card, Improve, Phase
from evolvent.records import Episode, Score
from evolvent.rewards import by_task
from evolvent.rewards.consensus import as_number, plurality
from evolvent.rewards.repetition import Repetition, characters
from evolvent.rollouts.seat import Budgets
from evolvent.rollouts.selfplay import SETTER, Alone, Rehearse, SelfPlay, readable
from evolvent.synthesis.exercises import DrawnExercises, Exercises
from evolvent.training.losses import Clip, Likelihood, PolicyLoss, per_token, sequence_mean, token_mean
from evolvent.training.optim import AdamW, Muon, Schedule

CARD = Card(
    name="r_zero",
    title="R-Zero: a challenger and a solver from no data",
    paper="arXiv:2508.05004",
    changes=("rollouts", "rewards"),
    claim="pay for uncertainty moves a challenger to what its solver is of two minds about, and a penalty for "
    "repetition keeps its questions apart",
    verdict="shown",
)


def tent(share: float) -> float:
    """1 - 2 |share - 1/2|: most where half of the attempts agree (R-Zero, equation 5)."""
    return 1 - 2 * abs(share - 0.5)


def smaller(share: float) -> float:
    """min(share, 1 - share): the same but for a factor of two (R-Zero, released code)."""
    return min(share, 1 - share)


def always(share: float) -> float:
    """The control: every question that can be read is worth the same."""
    return 1.0


@dataclass(frozen=True, slots=True)
class Challenge:
    """Pays a challenger for each of the questions of its group, and the solver's attempts by their majority.

    The challenger earns worth(share of attempts that give the most frequent answer) less `penalty` times the share of
    its cluster, and `unreadable` where there is no question. Attempts earn 1 for the most frequent answer where its
    share lies within `band`; elsewhere they all earn 0 and nothing is learned of them.
    """

    worth: Callable[[float], float] = tent
    repetition: Repetition = Repetition()
    penalty: float = 1.0
    unreadable: float = -1.0
    band: tuple[float, float] = (0.3, 0.8)

    def __call__(self, episodes: Sequence[Episode]) -> list[dict[str, Score]]:
        """One judgement per question of a group."""
        asked = [str(e.info["problem"]) for e in episodes if not e.info["refused"]]
        shares = iter(self.repetition(asked))
        counts = Counter(asked)
        return [
            self._solver(e) | {SETTER: Score(self.unreadable, {"readable": 0.0}, "unreadable")}
            if e.info["refused"]
            else self._solver(e) | {SETTER: self._setter(e, next(shares), 1 / counts[str(e.info["problem"])])}
            for e in episodes
        ]

    def _setter(self, episode: Episode, repeated: float, unique: float) -> Score:
        label, agreement = vote(episode)
        value = self.worth(agreement) - self.penalty * repeated
        told = {"readable": 1.0, "agreement": agreement, "uncertainty": tent(agreement), "repeated": repeated}
        told |= {"unique": unique, "frontier": float(self._teaches(agreement))}
        if self._teaches(agreement):
            told["label_right"] = float(label == as_number(str(episode.info["reference"])))
        return Score(value, told, f"{agreement:.0%} say {label}")

    def _solver(self, episode: Episode) -> dict[str, Score]:
        label, agreement = vote(episode)
        trusted = self._teaches(agreement)
        return {
            seat: Score(float(trusted and label is not None and as_number(words) == label))
            for seat, words in episode.info["attempts"].items()
        }

    def _teaches(self, agreement: float) -> bool:
        return self.band[0] <= agreement <= self.band[1]


def vote(episode: Episode) -> tuple[str | None, float]:
    """The most frequent number among the attempts, and the share of attempts that give it; words count against it."""
    forms = [as_number(words) for words in episode.info["attempts"].values()]
    label = plurality(forms)[0] if forms else None
    return label, sum(form == label for form in forms) / len(forms) if label is not None else 0.0


NUM_ATTEMPTS = 8  # R-Zero takes 10
LAST = 10  # steps that are compared, 64 questions each
SOLVERS = {f"solver/{i}": "solver" for i in range(1, NUM_ATTEMPTS + 1)}
DOMAIN = Exercises()


def build() -> Improve:
    """Exercises of one and two digits; both policies have seen some, and the solver is sure of few.

    What cannot be read gives way to an exercise of the source, so that every update has as many attempts.
    """
    cold = Phase(
        num_steps=200,
        tasks_per_step=32,
        group_size=1,
        workflow=Rehearse(DOMAIN),
        curriculum=Uniform(2),
        advantage=imitate_all,
        loss=Likelihood(token_mean),
        optimizer=Muon(lr=0.02, rest=AdamW(lr=3e-3, schedule=Schedule(warmup_steps=20))),
    )
    return Improve(
        recipe="r_zero",
        source=DrawnExercises(),
        model={name: ModelSpec(depth=2) for name in (SETTER, "solver")},
        seats={SETTER: SETTER, **SOLVERS},
        world=Toolbox(()),
        cold_start=cold,
        curriculum=Uniform(2),
        workflow=Alone(),
        practice_workflow=SelfPlay(DOMAIN, readable, instead=("solver",)),
        reward=Challenge(repetition=Repetition(characters, max_order=2)),
        truth=by_task,
        advantage=Standardized(ddof=1, eps=1e-6),
        loss=PolicyLoss(ratio=per_token, gain=Clip(0.2, 0.2), reduce=sequence_mean, kl=0.01),
        optimizer={SETTER: AdamW(lr=3e-3), "solver": AdamW(lr=3e-4)},
        num_steps=32,
        tasks_per_step=2,
        group_size=32,
        budgets=Budgets(turn_tokens=10, context_tokens=64, episode_tokens=10),
        suite=Suite(num_tasks=512, num_tasks_above=512, num_tasks_during=64, num_levels=2, best_of=1),
        num_threads=1,
    )


def effect(seed: int) -> list[Observation]:
    """Pay for uncertainty against the same pay for every question; then with the penalty against without."""
    plan = replace(build(), eval_every=build().num_steps)
    assert isinstance(plan.reward, Challenge)
    full = arm(plan, seed)
    blind = arm(replace(plan, reward=replace(plan.reward, worth=always)), seed)
    repeating = arm(replace(plan, reward=replace(plan.reward, penalty=0.0)), seed)
    return [
        compare_steps(
            "questions are nearer to what the solver is of two minds about",
            "greater",
            full,
            blind,
            key="reward/uncertainty",
            last=LAST,
            metric="uncertainty, 1 - 2 |agreement - 1/2|",
        ),
        compare_steps(
            "a penalty for repetition keeps questions apart",
            "greater",
            full,
            repeating,
            key="reward/unique",
            last=LAST,
            metric="share of questions that are unlike",
        ),
    ]
