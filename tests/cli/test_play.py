import io
import json
import sys

import pytest


@pytest.fixture
def typed(monkeypatch):
    """What a program writes into the command."""
    return lambda text: monkeypatch.setattr(sys, "stdin", io.StringIO(text))


def test_words_behind_the_policy_are_asked_once(tiny_run, answered):
    found = answered("play", tiny_run, "12+3?")
    [exchange] = found["exchanges"]
    assert found["policy"].endswith("step-000008/agent")
    assert exchange["question"] == "12+3?"
    assert exchange["num_tokens"] > 0
    assert exchange["turns"][0]["role"] == "assistant"
    assert "score" not in exchange


def test_a_question_may_hold_an_equals_sign(tiny_run, answered):
    assert answered("play", tiny_run, "k=47;q=k*8;q?")["exchanges"][0]["question"] == "k=47;q=k*8;q?"


def test_lines_of_the_input_are_asked_one_by_one_and_empty_ones_are_not(tiny_run, answered, typed):
    typed("1+2?\n\n[bold]3*4?\n")
    assert [e["question"] for e in answered("play", tiny_run)["exchanges"]] == ["1+2?", "[bold]3*4?"]


def test_tasks_of_a_source_come_with_the_judgement(tiny_run, answered):
    found = answered("play", tiny_run, "source=chain:3", "num_tasks=2")
    assert [(e["family"], e["level"]) for e in found["exchanges"]] == [("chain", 3)] * 2
    assert all(e["score"] in (0.0, 1.0) and e["wanted"] and e["why"] for e in found["exchanges"])


def test_the_same_question_gets_the_same_answer_and_another_seed_another(tiny_run, answered):
    said = [answered("play", tiny_run, "7*8?", *more)["exchanges"][0]["turns"] for more in ((), (), ("--seed", "9"))]
    assert said[0] == said[1] != said[2]


def test_a_person_sees_the_question_the_words_and_the_tokens(tiny_run, told):
    status, out, err = told("play", tiny_run, "12+3?")
    assert status == 0
    assert "12+3?" in out
    assert "tokens written" in out
    assert err == ""
    assert "\x1b" not in out


def test_a_tool_call_and_its_result_are_shown(tmp_path, told, monkeypatch):
    """A scripted policy that calls, behind a real server."""
    from evolvent.policies.scripted import Oracle
    from evolvent.serve import PolicyDesk, background, make_app
    from evolvent.tasks import source

    task = source("chain").task("chain", 1, 0, "test")
    with background(make_app(PolicyDesk(Oracle.of([task]), None, "oracle"))) as base:
        status, out, _ = told("play", f"{base}/v1", task.question)
        _, line, _ = told("play", f"{base}/v1", task.question, "--json")
    assert status == 0
    assert f"calc(expression='{task.question[:-1]}')" in out
    [exchange] = json.loads(line)["exchanges"]
    assert [t["role"] for t in exchange["turns"]] == ["assistant", "tool", "assistant"]
    assert exchange["turns"][1]["text"] == task.private.answer == exchange["answer"]


def test_a_question_longer_than_the_context_is_an_error(tiny_run, refused):
    assert "longer than the context" in refused("play", tiny_run, "x" * 600)


def test_play_needs_a_policy_and_either_words_or_a_source(tiny_run, refused):
    assert "POLICY" in refused("play")
    assert "leave one out" in refused("play", tiny_run, "hello", "source=chain")
    assert "no field 'k'" in refused("play", tiny_run, "k=3")
