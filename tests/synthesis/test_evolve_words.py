"""Evolution of instructions by a scripted server on loopback that speaks OpenAI's protocol."""

import asyncio

import pytest
from fastapi import FastAPI, Request

from evolvent.policies.endpoint import Endpoint
from evolvent.records import Origin, Private, Reference, Sampling, Task, said
from evolvent.serve import background
from evolvent.synthesis.evolve import lineage
from evolvent.synthesis.evolve_words import (
    FRAME,
    OPERATORS,
    JudgedEqual,
    adds_too_much,
    apologises,
    copies_operator,
    evolve_instructions,
    says_nothing,
    unchanged,
)

JUDGE = Reference("evolvent.rewards.verify:exact")
GOOD = "Name three rivers of Norway and the town at each mouth."


def instruction(text, answer="Glomma, Fredrikstad.", how="seed", task_id="s0"):
    origin = Origin(how) if how == "seed" else Origin(how, ("p",))
    return Task(task_id, "words", 0, (said("user", text),), Private(answer), JUDGE, origin)


class Script:
    """A server that answers by what it is asked; the kinds of failure are named in the seeds."""

    def __init__(self):
        self.asked = []

    def reply(self, text):
        self.asked.append(text)
        if "<<<OLD>>>" in text:
            old = text.split("<<<OLD>>>\n")[1].split("\n<<<NEW>>>")[0]
            if "parrot" in old:
                return "<<<NEW>>> " + old
            if "mumble" in old:
                return "It is, and ... ?"
            return old if "mule" in old else f"{old} Say why."
        if "<<<FIRST>>>" in text:
            return "SAME" if "twin" in text else "OTHER"
        return "I'm sorry, I cannot help with that." if "coward" in text else "Glomma, since it is long."


@pytest.fixture(scope="module")
def served():
    script, app = Script(), FastAPI()

    @app.post("/v1/chat/completions")
    async def answer(request: Request):
        body = await request.json()
        words = script.reply(body["messages"][-1]["content"])
        choice = {"index": 0, "message": {"role": "assistant", "content": words}, "finish_reason": "stop"}
        return {"id": "c", "choices": [choice], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}

    with background(app) as url:
        yield script, f"{url}/v1"


@pytest.fixture(scope="module")
def evolution(served):
    kinds = ("river", "parrot", "mumble", "mule", "twin", "coward")
    made = [instruction(f"Tell of a {kind} in Norway.", task_id=f"s{i}") for i, kind in enumerate(kinds)]
    policy = Endpoint(served[1], "m", backoff_s=0.01, timeout_s=5.0)
    return asyncio.run(evolve_instructions(made, policy, Sampling(64), num_rounds=2))


def test_what_succeeds_goes_on_from_what_it_became(evolution):
    assert [leaves[0].question for leaves in evolution.rounds] == [
        "Tell of a river in Norway.",
        "Tell of a river in Norway. Say why.",
        "Tell of a river in Norway. Say why. Say why.",
    ]
    assert evolution.rounds[2][0].private.answer == "Glomma, since it is long."


def test_what_fails_keeps_its_parent_and_says_why(evolution):
    for leaves in evolution.rounds[1:]:
        assert leaves[1:] == evolution.rounds[0][1:]
    assert evolution.dropped == {
        "copies the operator": ("s1~1", "s1~2"),
        "instruction says nothing": ("s2~1", "s2~2"),
        "equal to its parent": ("s3~1", "s4~1", "s3~2", "s4~2"),
        "answer apologises": ("s5~1", "s5~2"),
    }


def test_the_origin_tells_the_chain(evolution):
    known = {task.task_id: task for task in evolution.pool}
    chain = lineage(evolution.rounds[2][0], known)
    assert [task.task_id for task in chain] == ["s0", "s0~1", "s0~2"]
    assert all(task.origin.how.removeprefix("evolve:") in OPERATORS for task in chain[1:])


def test_every_rewriting_prompt_is_one_of_the_operators(served, evolution):
    rewriting = [text for text in served[0].asked if "<<<OLD>>>" in text]
    assert len(rewriting) == 12
    assert all(any(operator in text for operator in OPERATORS.values()) for text in rewriting)
    assert copies_operator(instruction(FRAME.format(operator="", text="x")), instruction("x"))


RULED = [
    (unchanged, instruction("tell  of a River."), "equal to its parent"),
    (JudgedEqual(frozenset({"Speak of a river."})), instruction("Speak of a river."), "equal to its parent"),
    (says_nothing, instruction("Why, and to whom?"), "instruction says nothing"),
    (says_nothing, instruction(GOOD, "..."), "answer says nothing"),
    (says_nothing, instruction(GOOD, "It is what it is."), "answer says nothing"),
    (apologises, instruction(GOOD, "Sorry, there is not enough to go by."), "answer apologises"),
    (copies_operator, instruction("The rewritten instruction: name a river"), "copies the operator"),
    (adds_too_much, instruction("Tell of a river. " + "x " * 21, how="evolve:deepen"), "adds too many words"),
]


@pytest.mark.parametrize(("rule", "child", "reason"), RULED)
def test_each_rule_drops_what_it_is_for(rule, child, reason):
    assert rule(child, instruction("Tell of a river.")) == reason


@pytest.mark.parametrize("rule", [r for r, _, _ in RULED])
def test_each_rule_keeps_what_is_good(rule):
    assert rule(instruction(GOOD, how="evolve:deepen"), instruction("Tell of a river.")) == ""


def test_a_long_answer_may_apologise_and_breadth_may_be_long():
    parent = instruction("Tell of a river.")
    assert apologises(instruction(GOOD, "Sorry, " + "river " * 80), parent) == ""
    assert adds_too_much(instruction("word " * 40, how="evolve:breadth"), parent) == ""
