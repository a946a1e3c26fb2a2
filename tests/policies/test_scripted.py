import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolvent.codec import from_json, to_json
from evolvent.errors import BadInput
from evolvent.policies.policy import Policy
from evolvent.policies.scripted import Fixed, Oracle, RandomWords
from evolvent.records import (
    Finish,
    Message,
    Origin,
    Private,
    Prompt,
    Reference,
    Sampling,
    Task,
    Text,
    ToolCall,
    ToolResult,
    said,
)

HOW = Sampling(max_tokens=8)
CALL = Message("assistant", (ToolCall("calculator", {"expression": "6*7"}),))
RESULT = Message("tool", (ToolResult("calculator", "42"),))


def ask(policy, *messages, stream=()):
    [made] = asyncio.run(policy.sample([Prompt(tuple(messages), stream=stream)], HOW))
    return made


SOLUTION = (CALL, said("assistant", "42"))


def task(question="6*7?", solution=SOLUTION):
    private = Private("42", solution=solution)
    return Task("t", "sums", 1, (said("user", question),), private, Reference("a:b"), Origin("test"))


def test_fixed_says_the_same_whatever_is_asked():
    assert ask(Fixed("no"), said("user", "a")).text == ask(Fixed("no"), said("user", "b")).text == "no"


def test_the_oracle_plays_the_worked_solution_turn_by_turn():
    oracle = Oracle.of([task()])
    first = ask(oracle, said("system", "Be brief."), said("user", "6*7?"))
    assert (first.message, first.finish, first.tokens) == (CALL, Finish.CALL, ())
    second = ask(oracle, said("user", "6*7?"), CALL, RESULT)
    assert (second.text, second.finish) == ("42", Finish.STOP)


def test_the_oracle_is_not_confused_by_worked_examples_before_the_question():
    shown = [said("user", "1+1?"), said("assistant", "2")]
    assert ask(Oracle.of([task()]), *shown, said("user", "6*7?")).message == CALL


def test_the_oracle_says_so_when_it_does_not_know_or_has_nothing_left_to_say():
    oracle = Oracle.of([task()])
    with pytest.raises(BadInput, match="does not know"):
        ask(oracle, said("user", "what?"))
    with pytest.raises(BadInput, match="has ended"):
        ask(oracle, said("user", "6*7?"), CALL, RESULT, said("assistant", "42"), said("user", "and?"))


def test_an_oracle_refuses_tasks_without_solution_and_questions_with_two():
    with pytest.raises(BadInput, match="no worked solution"):
        Oracle.of([task(solution=())])
    with pytest.raises(BadInput, match="same question"):
        Oracle.of([task(), task(solution=(said("assistant", "42"),))])


@given(st.integers(0, 10**6), st.integers(1, 9))
def test_random_words_depend_on_the_seed_and_the_stream_alone(sample, max_words):
    policy = RandomWords(("a", "b", "c"), max_words)
    prompts = [Prompt((said("user", str(i)),), stream=("t", sample, i)) for i in range(3)]
    together = asyncio.run(policy.sample(prompts, HOW))
    alone = [asyncio.run(policy.sample([p], HOW))[0] for p in prompts]
    assert together == alone
    assert all(1 <= len(made.text.split()) <= max_words for made in together)
    assert len({made.call_id for made in together}) == 3


def test_random_words_without_words_are_refused():
    with pytest.raises(BadInput, match="draw from"):
        RandomWords((), 3)


@pytest.mark.parametrize("policy", [Fixed("x"), Oracle({"q": (said("assistant", "a"),)}), RandomWords("abc", 2)])
def test_scripted_policies_are_policies_and_round_trip_through_json(policy):
    assert isinstance(policy, Policy)
    assert from_json(to_json(policy)) == policy


def test_words_are_kept_as_blocks():
    assert ask(Fixed("hi"), said("user", "x")).message == Message("assistant", (Text("hi"),))
