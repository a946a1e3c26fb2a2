import json

import pytest

from evolvent.cli.recipes import plan_of
from evolvent.cli.values import override, parse_plan, read_value
from evolvent.errors import BadInput, StoreError
from evolvent.rewards import exact
from evolvent.tasks import Dataset


def test_a_source_may_be_words_or_code():
    assert read_value("chain:1,chain:2", "source") == "chain:1,chain:2"
    assert read_value("reasoning_gym:leg_counting", "source") == "reasoning_gym:leg_counting"
    assert read_value("a/b.jsonl", "source") == "a/b.jsonl"
    assert read_value("evolvent.tasks:Dataset('x.jsonl')", "source") == Dataset("x.jsonl")


def test_a_name_is_looked_up_in_its_stage():
    assert read_value("exact", "reward") is exact
    with pytest.raises(BadInput, match="did you mean exact"):
        read_value("exakt", "reward")


@pytest.mark.parametrize(
    ("word", "complaint"),
    [
        ("num_steps=ten", "not a number"),
        ("num_steps=1.5", "not a whole number"),
        ("num_steps=true", "not a number"),
        ("num_steps=null", "not a number"),
        ("gradient_checkpointing=1", "not a switch"),
        ("cold_start.num_step=3", "did you mean num_steps"),
        ("budgets=3", "budgets"),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused(word, complaint):
    key, _, value = word.partition("=")
    with pytest.raises(BadInput, match=complaint):
        from evolvent.plans import check

        check(override(plan_of("circle"), {key: value}))


@pytest.mark.parametrize(
    "text", ["{", "[]", "3", json.dumps({"is": "evolvent.rollouts.seat:Budgets", "turn_tokens": 1})]
)
def test_a_broken_plan_says_where_it_is(text):
    with pytest.raises((StoreError, BadInput)):
        parse_plan(text, "plan.json")
