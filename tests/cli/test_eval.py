import json

import pytest
from openai import OpenAI  # noqa: F401  # the client that a served policy is meant for

from evolvent.cli.subject import build_policies, find_subject
from evolvent.records import Report
from evolvent.serve import PolicyDesk, background, make_app
from evolvent.store import Run


def after_report(run):
    return next(r for r in Run.reopen(run).reports() if r.name == "after")


def test_a_run_evaluated_again_gives_the_numbers_that_it_ended_with(tiny_run, answered):
    found, after = answered("eval", tiny_run), after_report(tiny_run)
    assert isinstance(after, Report)
    assert found["accuracy"] == after.metrics["sampled"].value
    assert found["tool_use"] == after.metrics["tool_use"].value
    for row, cell in zip(found["levels"], after.cells, strict=True):
        assert (row["family"], row["level"], row["num_tasks"]) == (cell.family, cell.level, len(cell.scores))
        assert row["accuracy"] == sum(cell.scores) / len(cell.scores)
        assert row["num_tokens"] == pytest.approx(sum(cell.num_tokens) / len(cell.num_tokens))


def test_the_answer_has_absolute_paths_and_an_interval_around_the_accuracy(tiny_run, answered):
    found = answered("eval", tiny_run, "num_tasks=4", "k=2")
    assert {"policy", "source", "accuracy", "low", "high", "pass_at_k", "tool_use", "num_tasks"} <= set(found)
    assert found["policy"] == str(tiny_run.resolve() / "checkpoints" / "step-000008" / "agent")
    assert found["run"] == str(tiny_run.resolve())
    assert found["low"] <= found["accuracy"] <= found["high"]
    assert found["pass_at_k"] >= found["accuracy"]
    assert (found["num_tasks"], found["k"]) == (4, 2)


def test_a_checkpoint_of_a_run_brings_its_plan_and_an_earlier_one_can_be_named(tiny_run, answered):
    whole = answered("eval", tiny_run)
    last = answered("eval", tiny_run / "checkpoints" / "step-000008")
    assert {k: v for k, v in last.items() if k != "seconds"} == {k: v for k, v in whole.items() if k != "seconds"}
    first = answered("eval", tiny_run / "checkpoints" / "step-000006" / "agent", "num_tasks=2")
    assert first["step"] == 6
    assert first["num_tasks"] == 2


def test_levels_are_chosen_one_by_one_or_all(tiny_run, answered):
    found = answered("eval", tiny_run, "level=2,3", "num_tasks=2")
    assert [row["level"] for row in found["levels"]] == [2, 3]
    assert found["num_tasks"] == 4  # levels that were asked for are the headline
    assert len(answered("eval", tiny_run, "level=all", "num_tasks=1", "budgets.turn_tokens=2")["levels"]) == 8


def test_another_source_is_measured_on_its_starting_level(tiny_run, answered):
    found = answered("eval", tiny_run, "source=base", "num_tasks=3", "budgets.turn_tokens=4")
    assert [(row["family"], row["level"]) for row in found["levels"]] == [("base", 1)]
    assert found["source"] == "base"


def test_a_saved_model_of_others_is_measured(tiny_llama, answered):
    found = answered("eval", tiny_llama, "num_tasks=3", "budgets.turn_tokens=8", "num_threads=1")
    assert found["policy"] == str(tiny_llama)
    assert found["num_tasks"] == 3


def test_nano_is_a_policy(answered):
    found = answered("eval", "nano", "num_tasks=2", "budgets.turn_tokens=4", "num_threads=1", "temperature=0")
    assert (found["policy"], found["temperature"]) == ("nano", 0)


def test_only_held_out_rows_of_a_file_count_unless_all_are_asked_for(tiny_run, answered, told, tmp_path):
    rows = [{"prompt": f"{i}+1?", "answer": str(i + 1), "split": "test" if i < 3 else "train"} for i in range(8)]
    path = tmp_path / "sums.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ("eval", tiny_run, f"source={path}", "budgets.turn_tokens=4")
    found = answered(*words)
    assert (found["num_tasks"], found["source"]) == (3, str(path))
    assert answered(*words, "split=all")["num_tasks"] == 8
    assert "split=all" in told(*words)[1]


def test_a_served_policy_is_measured_through_its_endpoint_as_well_as_in_person(tiny_run, answered):
    subject = find_subject(str(tiny_run))
    policy = build_policies(subject, subject.setting)["agent"]
    with background(make_app(PolicyDesk(policy, policy.renderer, "tiny"))) as base:
        found = answered("eval", f"{base}/v1", "num_tasks=6", "max_concurrent=2", "budgets.turn_tokens=16")
        named = answered("eval", f"{base}/v1#tiny", "num_tasks=2", "budgets.turn_tokens=16")
    assert found["policy"] == f"{base}/v1"
    assert found["num_tasks"] + found["num_faults"] == 6
    assert named["policy"].endswith("#tiny")


def test_an_endpoint_that_does_not_answer_says_so_before_many_questions(refused):
    assert "name the model" in refused("eval", "http://127.0.0.1:9/v1")


def test_keys_without_effect_are_refused(tiny_run, refused):
    assert "did you mean source" in refused("eval", tiny_run, "sorce=chain")
    assert "no effect on local weights" in refused("eval", tiny_run, "max_concurrent=2")
    assert "no effect on an endpoint" in refused("eval", "http://127.0.0.1:9/v1#m", "device=cpu")
    assert "no effect on tasks that are made" in refused("eval", tiny_run, "split=all")
    assert "--resume has no effect on eval" in refused("eval", tiny_run, "--resume", "x")


def test_wrong_numbers_and_levels_are_refused(tiny_run, refused):
    assert "whole number" in refused("eval", tiny_run, "k=0")
    assert "whole number" in refused("eval", tiny_run, "num_tasks=many")
    assert "wanted: 1, 2, 3" in refused("eval", tiny_run, "level=9")
    assert "not a number" in refused("eval", tiny_run, "temperature=hot")
    assert "longer than the context of the model" in refused("eval", tiny_run, "budgets.context_tokens=4096")


def test_a_word_that_is_no_policy_names_its_neighbours(tiny_run, refused):
    assert "tiny" in refused("eval", tiny_run.with_name("tinny"))
    assert "one POLICY" in refused("eval")
