"""Decompose and query: an answer is put together from what a trusted base says, or it is not given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from evolvent.credit.advantage import Standardized, imitate_all
from evolvent.curriculum import Uniform
from evolvent.effects import Arm, Observation, arm
from evolvent.effects.replay import replay
from evolvent.envs import Toolbox
from evolvent.envs.corpus.pairs import ANSWER_RETRIEVER, FINISH, QUESTION_RETRIEVER, OpenPairs, Pairs
from evolvent.evals.contrast import Kind
from evolvent.evals.measure import Suite, value_of
from evolvent.models import ModelSpec
from evolvent.plans import Card, Improve, Phase
from evolvent.records import Episode, Task, ToolCall
from evolvent.rewards import by_task
from evolvent.rollouts.decompose import FAILED, SUCCESS, Decompose, DemonstrateDecompose, Walk
from evolvent.rollouts.play import Workflow
from evolvent.rollouts.seat import Budgets
from evolvent.rollouts.workflows import Demonstrate, single
from evolvent.tasks.knowledge import UNKNOWN, VAGUE, KnowledgeBase, KnowledgeTasks
from evolvent.training.losses import Clip, Likelihood, PolicyLoss, per_token, token_mean
from evolvent.training.optim import AdamW, Muon, Schedule

CARD = Card(
    name="dq",
    title="D&Q: decompose and query",
    paper="arXiv:2311.07491",
    changes=("envs", "rollouts"),
    claim="answers that rest on retrieved pairs alone are hardly ever invented, going back from dead ends answers more "
    "questions, and training on failures teaches when not to answer",
    verdict="shown",
    note="Evaluated greedily: at temperature 1 a small policy that writes one unreadable call goes on wrongly to the "
    "end.",
)


LINES = (
    'QuestionRetriever {"question": "bapo\'s boss"}',
    'AnswerRetriever {"question": "bapo\'s boss"}',
    'Finish {"status": "Success", "answer": "bapo"}',
    'Finish {"status": "Failed"}',
    "QuestionRetriever(bapo's boss) returned nothing valid",
    "AnswerRetriever(bapo's boss) returned nothing valid",
    *(f"{t.description}:{t.name}({','.join(t.parameters['properties'])})" for t in OpenPairs.offered),
)  # what else is said and heard, so that each word of it is one token


def teach(walk: Walk) -> ToolCall:
    """What an oracle does next: it reads each hop through a stored question, the first reading of a vague one first."""
    assert walk.task.private is not None
    data = walk.task.private.data
    return follow(walk, str(data["subject"]), tuple(data["relations"]))


def teach_success(walk: Walk) -> ToolCall:
    """The control: it knows the way, so that it never fails."""
    assert walk.task.private is not None
    data = walk.task.private.data
    return follow(walk, str(data["subject"]), tuple(relation for _, relation, _ in data["chain"]))


def follow(walk: Walk, subject: str, relations: Sequence[str]) -> ToolCall:
    """The next step along relations: find a stored question, read its answer; give up where there is none."""
    hop, at = len(walk.answers), walk.answers[-1] if walk.answers else subject
    if hop == len(relations):
        return ToolCall(FINISH.name, {"status": SUCCESS, "answer": at})
    last = walk.steps[-1] if walk.steps else None
    if last and last.call.name == QUESTION_RETRIEVER.name:
        [asked] = (last.call.arguments or {}).values()
        offered = asked in last.result.text.split("\n") and (ANSWER_RETRIEVER.name, asked) not in walk.dead
        return ToolCall(ANSWER_RETRIEVER.name, {"question": asked}) if offered else _give_up()
    for relation in VAGUE.get(relations[hop], (relations[hop],)):
        question = f"{at}'s {relation}"
        if (QUESTION_RETRIEVER.name, question) not in walk.dead:
            return ToolCall(QUESTION_RETRIEVER.name, {"question": question})
    return _give_up()


def _give_up() -> ToolCall:
    return ToolCall(FINISH.name, {"status": FAILED})


def build() -> Improve:
    """Oracle walks in many bases, dead ends and failures among them; practice rewards answers, and none where due."""
    cold = Phase(
        num_steps=200,
        tasks_per_step=32,
        group_size=1,
        workflow=DemonstrateDecompose(teach),
        curriculum=Uniform(1),
        advantage=imitate_all,
        loss=Likelihood(token_mean),
        optimizer=Muon(lr=0.02, rest=AdamW(lr=3e-3, schedule=Schedule(warmup_steps=10, decay_steps=200))),
    )
    return Improve(
        recipe="dq",
        source=KnowledgeTasks(
            KnowledgeBase(64), ("one_hop", "two_hop", "vague"), unknown_frac=0.2, num_others=256, lines=LINES
        ),
        world=Pairs(),
        model=ModelSpec(depth=3, vocab_size=512),
        workflow=Decompose(),
        cold_start=cold,
        curriculum=Uniform(1),
        reward=by_task,
        advantage=Standardized(ddof=1, eps=1e-4),
        loss=PolicyLoss(ratio=per_token, gain=Clip(0.20, 0.28), reduce=token_mean),
        optimizer=AdamW(lr=3e-4),
        num_steps=40,
        tasks_per_step=8,
        group_size=8,
        budgets=Budgets(turn_tokens=32, context_tokens=512, episode_tokens=512),
        suite=Suite(num_tasks=256, num_tasks_during=16, num_levels=1, best_of=1),
        num_threads=1,
    )


def effect(seed: int) -> list[Observation]:
    """With the base against from memory, with returns against without, with failures in training against without.

    As published, nothing is trained but by demonstrations: practice is left out.
    """
    plan = small(seed)
    trained, from_memory, never_failed = (arm(one, seed) for one in (plan, free(plan), successes(plan)))
    whole, told = Decompose(max_unread=1.0), Decompose(max_unread=1.0, max_returns=0)  # what it says by itself counts
    tasks = {family: questions(source_of(plan), family) for family in source_of(plan).families}
    everything = [task for some in tasks.values() for task in some]
    decoyed = [task for task in tasks["vague"] if is_answerable(task)]
    hopeless = [task for task in everything if not is_answerable(task)]

    def claim(
        words: str, kind: Kind, metric: str, of: Callable[[Episode], float], sides: tuple[Played, Played]
    ) -> Observation:
        ours, theirs = (tuple(of(e) for e in replay(a, some, workflow=how, temperature=0.0)) for a, some, how in sides)
        spent = trained.spent, sides[1][0].spent
        return Observation(words, kind, metric, ours, theirs, *spent, unit="question")

    return [
        claim(
            "who looks up invents fewer answers than who says what it was taught",
            "less",
            "answers that the base does not give",
            is_invented,
            ((trained, everything, whole), (from_memory, everything, single)),
        ),
        claim(
            "going back from a dead end answers more two-hop questions with a decoy",
            "greater",
            "accuracy",
            value_of,
            ((trained, decoyed, whole), (trained, decoyed, told)),
        ),
        claim(
            "who was taught failures says so where there is no answer",
            "greater",
            "correct abstention",
            value_of,
            ((trained, hopeless, whole), (never_failed, hopeless, whole)),
        ),
    ]


Played = tuple[Arm, Sequence[Task], Workflow]


def small(seed: int) -> Improve:
    """The plan for a base of the seed's own, with little measured on the way."""
    plan = build()
    source = replace(source_of(plan), base=replace(source_of(plan).base, seed=seed))
    suite = Suite(num_tasks=4, num_tasks_during=1, num_levels=1, best_of=1)
    return replace(plan, source=source, suite=suite, num_steps=0)


def free(plan: Improve) -> Improve:
    """Answers at once, without tools; taught the very base that it is asked about, and not others."""
    cold = plan.cold_start and replace(plan.cold_start, workflow=Demonstrate())
    source = replace(source_of(plan), num_others=0)
    return replace(plan, source=source, world=Toolbox(()), workflow=single, cold_start=cold)


def successes(plan: Improve) -> Improve:
    """Every demonstration goes straight to an answer."""
    cold = plan.cold_start and replace(plan.cold_start, workflow=DemonstrateDecompose(teach_success))
    return replace(plan, source=replace(source_of(plan), unknown_frac=0.0), cold_start=cold)


def source_of(plan: Improve) -> KnowledgeTasks:
    """The questions of a plan."""
    assert isinstance(plan.source, KnowledgeTasks)
    return plan.source


def questions(source: KnowledgeTasks, family: str, num: int = 160) -> list[Task]:
    """Held-out questions of a family, none twice."""
    drawn = (source.task(family, 1, index, "test") for index in range(2 * num))
    return list({task.question: task for task in drawn}.values())[:num]


def is_answerable(task: Task) -> bool:
    """Whether the base gives an answer."""
    assert task.private is not None
    return bool(task.private.data["is_answerable"])


def is_invented(episode: Episode) -> float:
    """An answer was given, and the base does not give it."""
    assert episode.task.private is not None
    return float(episode.answer not in ("", UNKNOWN, episode.task.private.answer))
