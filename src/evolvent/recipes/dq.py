"""Decompose and query: an answer is put together from what a trusted base says, or it is not given."""

from __future__ import annotations

from evolvent.credit.advantage import imitate_all
from evolvent.curriculum import Uniform
from evolvent.envs.corpus.pairs import ANSWER_RETRIEVER, FINISH, QUESTION_RETRIEVER, OpenPairs, Pairs
from evolvent.evals.measure import Suite
from evolvent.models import ModelSpec
from evolvent.plans import Card, Improve
from evolvent.records import ToolCall
from evolvent.rewards import by_task
from evolvent.rollouts.decompose import FAILED, SUCCESS, Decompose, DemonstrateDecompose, Walk
from evolvent.rollouts.seat import Budgets
from evolvent.tasks.knowledge import VAGUE, KnowledgeBase, KnowledgeTasks
from evolvent.training.losses import Likelihood, token_mean
from evolvent.training.optim import AdamW, Muon, Schedule

CARD = Card(
    name="dq",
    title="D&Q: decompose and query",
    paper="arXiv:2311.07491",
    changes=("envs", "rollouts"),
    claim="answers that rest on retrieved pairs alone are hardly ever invented, going back from dead ends answers more "
    "questions, and training on failures teaches when not to answer",
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
    at, relations = str(data["subject"]), tuple(data["relations"])
    hop = len(walk.answers)
    if hop:
        at = walk.answers[-1]
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
    """Oracle walks in many bases, dead ends and failures among them; measured in one of them."""
    return Improve(
        recipe="dq",
        source=KnowledgeTasks(
            KnowledgeBase(64), ("one_hop", "two_hop", "vague"), unknown_frac=0.2, num_others=256, lines=LINES
        ),
        world=Pairs(),
        model=ModelSpec(depth=3, vocab_size=512),
        workflow=Decompose(),
        practice_workflow=DemonstrateDecompose(teach),
        curriculum=Uniform(1),
        reward=by_task,
        advantage=imitate_all,
        loss=Likelihood(token_mean),
        optimizer=Muon(lr=0.02, rest=AdamW(lr=3e-3, schedule=Schedule(warmup_steps=20))),
        num_steps=200,
        tasks_per_step=32,
        group_size=1,
        budgets=Budgets(turn_tokens=32, context_tokens=512, episode_tokens=512),
        suite=Suite(num_tasks=256, num_tasks_during=16, num_levels=1, best_of=1),
        num_threads=1,
    )
