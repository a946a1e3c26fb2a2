"""Self-play on a zero-sum game: one policy plays both sides, and each side is compared with what it mostly earns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from evolvent.credit.across import MovingBaseline
from evolvent.credit.advantage import imitate_all
from evolvent.curriculum import Uniform
from evolvent.effects import FIRST_LEVEL, Arm, Observation, arm, compare_ends, compare_tasks
from evolvent.effects.replay import replay
from evolvent.envs.games import FIRST, SECOND, Nim
from evolvent.evals.measure import value_of
from evolvent.models import ModelSpec
from evolvent.plans import Card, Improve, Phase
from evolvent.records import Episode, Score
from evolvent.rollouts.games import Against, Opponent, Recite, at_random, duel, perfect
from evolvent.rollouts.seat import Budgets
from evolvent.seeds import stream
from evolvent.tasks.positions import NimGames
from evolvent.training.losses import Clip, Likelihood, PolicyLoss, per_token, token_mean
from evolvent.training.optim import AdamW, Muon, Schedule

CARD = Card(
    name="spiral",
    title="Self-play on zero-sum games with role-conditioned advantages",
    paper="arXiv:2506.24119",
    changes=("envs", "rollouts", "rewards", "credit"),
    claim="an agent that only ever plays itself learns to win games against others",
    verdict="unstable",
    note="The control unlearns legal moves on some seeds (0.32 to 0.00 on one development seed, where self-play "
    "went to 0.41; 0.44 to 0.80 on another). Not claimed, as development runs did not show it: (1) that a baseline per "
    "role helps. Roles are nearly equal here (the first seat wins 0.50 to 0.70), the noise of a batch's "
    "gradient with it was 1.00 to 1.20 times that without (four policies, four sizes of heap),"
    " and games won after 80 updates were 0.84 with it and 0.91 without. "
    "(2) That self-play beats practice against a fixed opponent at random: against a perfect one they won 0.19 and "
    "0.16 after 80 updates.",
)


def zero_sum(episodes: Sequence[Episode]) -> list[dict[str, Score]]:
    """+1 for the seat that won and -1 for the other; only seats that a policy played are judged."""
    return [_returns(episode, str(episode.info.get("winner", ""))) for episode in episodes]


def coin(episodes: Sequence[Episode]) -> list[dict[str, Score]]:
    """The control: as many winners and losers, drawn by lot."""
    return [_returns(e, stream(0, "coin", e.episode_id).choice((FIRST, SECOND))) for e in episodes]


def _returns(episode: Episode, winner: str) -> dict[str, Score]:
    info = episode.info
    parts = {"first_won": float(winner == FIRST), "broke_rules": float(info.get("broke_rules", False))}
    return {seat: Score(1.0 if seat == winner else -1.0, parts, f"{winner} won") for seat in info.get("played", ())}


COLD_START = Phase(
    num_steps=80,
    tasks_per_step=32,
    group_size=1,
    workflow=Recite(),
    curriculum=Uniform(),
    advantage=imitate_all,
    loss=Likelihood(token_mean),
    optimizer=Muon(lr=0.02, rest=AdamW(lr=3e-3, schedule=Schedule(warmup_steps=20))),
)


def build() -> Improve:
    """A heap of up to twenty matches, one to three of them to be taken; the cold start shows legal moves at random.

    Measured is the share of games won against an opponent who moves at random, as the first or the second.
    """
    return Improve(
        recipe="spiral",
        source=NimGames(num_heaps=1, most=20),
        model=ModelSpec(depth=2),
        seats={FIRST: "agent", SECOND: "agent"},
        world=Nim(most_taken=3),
        cold_start=COLD_START,
        curriculum=Uniform(),
        workflow=Against(at_random),
        practice_workflow=duel,
        reward=zero_sum,
        truth=zero_sum,
        advantage=MovingBaseline(decay=0.95),
        # a game is an episode of many turns, each of which is credited with how it ended; no KL (as published)
        loss=PolicyLoss(ratio=per_token, gain=Clip(0.2, 0.2), reduce=token_mean),
        optimizer=AdamW(lr=1e-3),
        num_steps=48,
        tasks_per_step=16,
        group_size=8,  # 128 games an update, as published
        budgets=Budgets(turn_tokens=6, context_tokens=256, episode_tokens=128),
        suite=FIRST_LEVEL,
        num_threads=1,
    )


def effect(seed: int) -> list[Observation]:
    """Self-play against the same with winners drawn by lot, measured against two scripts that neither has met."""
    plan = replace(build(), eval_every=build().num_steps)
    treated, control = arm(plan, seed), arm(replace(plan, reward=coin), seed)
    return [
        compare_ends("after self-play it wins more games against chance", "greater", treated, metric="games won"),
        compare_tasks(
            "self-play wins more of them than play for lots", "greater", treated, control, metric="games won"
        ),
        Observation(
            claim="self-play wins more games against a perfect opponent",
            kind="greater",
            metric="games won",
            treated=against(treated, perfect),
            control=against(control, perfect),
            spent=treated.spent,
            spent_control=control.spent,
        ),
    ]


def against(arm: Arm, opponent: Opponent, num_games: int = 512) -> tuple[float, ...]:
    """Of each held-out game, whether the agent that an arm ended with wins it."""
    source = arm.plan.source
    assert isinstance(source, NimGames)
    games = [source.task("nim", 1, i, "test") for i in range(num_games)]
    return tuple(value_of(episode) for episode in replay(arm, games, workflow=Against(opponent)))
