import json
import os
import subprocess

import pytest

from evolvent.envs.tools import as_tool
from evolvent.errors import BadInput
from evolvent.records import (
    Episode,
    Message,
    Origin,
    Outcome,
    Reference,
    Sampling,
    Score,
    Task,
    ToolCall,
    ToolResult,
    Trace,
    Turn,
    said,
)
from evolvent.store.atif import to_atif, write_trajectory

HOW = Sampling(16)


def turn(number, message, tokens=(), *, spoken=False, **more):
    own = {"sampling": HOW, "sampled_logprobs": (-0.5,) * len(tokens), "model_logprobs": (-0.25,) * len(tokens)}
    known = {"starts_context": number == 0, **(own if spoken else {}), **more}
    mask = (spoken,) * len(tokens)
    return Turn(f"t/0/agent/{number}", None, "agent", number, message, tuple(tokens), mask, **known)


def calculator(expression: str) -> str:
    """Work out an expression."""
    return expression


CALLS = Message(
    "assistant", (ToolCall("calc", {"x": "1+1"}), ToolCall("calc", {"x": "2+2"}), ToolCall("look", None, "{"))
)
TURNS = (
    turn(0, said("system", "Be brief.")),
    turn(1, said("user", "Two sums."), (1, 2, 3)),
    turn(2, CALLS, (4, 5), spoken=True, finish="tool_calls", version=7),
    turn(3, Message("tool", (ToolResult("calc", "2"),))),
    turn(4, Message("tool", (ToolResult("look", "cannot read", is_error=True),))),
    turn(5, Message("tool", (ToolResult("calc", "4"),)), (6, 7)),
    turn(6, said("assistant", "2 and 4"), (8,), spoken=True, finish="stop"),
)
TASK = Task("t", "sums", 2, (said("user", "Two sums."),), None, Reference("x:y"), Origin("test"))


def episode(*traces):
    made = traces or (Trace("t", 0, "agent", "nano", TURNS, score=Score(0.5, {"a": 1.0}, "half")),)
    return Episode("t/0", TASK, 0, tuple(made), "2 and 4", {"files": "abc"})


def test_steps_are_numbered_and_results_stand_under_their_calls():
    told = to_atif(episode())
    assert [(s["step_id"], s["source"]) for s in told["steps"]] == [
        (1, "system"),
        (2, "user"),
        (3, "agent"),
        (4, "agent"),
    ]
    calls, results = told["steps"][2]["tool_calls"], told["steps"][2]["observation"]["results"]
    assert [c["function_name"] for c in calls] == ["calc", "calc", "look"]
    assert [r["content"] for r in results] == ["2", "cannot read", "4"]
    by_call = {r["source_call_id"]: r["content"] for r in results}
    assert [by_call[c["tool_call_id"]] for c in calls] == ["2", "4", "cannot read"]
    assert results[1]["extra"] == {"is_error": True}
    assert calls[2]["arguments"] == {}
    assert calls[2]["extra"] == {"unreadable": "{"}


def test_token_ids_are_those_that_were_recorded():
    steps = to_atif(episode())["steps"]
    first, second = steps[2]["metrics"], steps[3]["metrics"]
    assert first["prompt_token_ids"] == [1, 2, 3]
    assert first["completion_token_ids"] == [4, 5]
    assert first["logprobs"] == [-0.5, -0.5]
    assert first["extra"]["model_logprobs"] == [-0.25, -0.25]
    assert second["prompt_token_ids"] == [1, 2, 3, 4, 5, 6, 7]
    assert second["completion_token_ids"] == [8]
    assert to_atif(episode())["final_metrics"] == {
        "total_prompt_tokens": 10,
        "total_completion_tokens": 3,
        "total_steps": 4,
    }


def test_what_nobody_sampled_is_no_call_of_a_model():
    shots = (
        turn(0, said("user", "1?")),
        turn(1, said("assistant", "1")),
        turn(2, said("user", "2?"), (1,)),
        turn(3, said("assistant", "2"), (2,), finish="recited"),
    )
    steps = to_atif(episode(Trace("t", 0, "agent", "nano", shots)))["steps"]
    assert [s.get("llm_call_count") for s in steps] == [None, 0, None, 0]
    assert steps[1]["is_copied_context"]
    assert all("metrics" not in s for s in steps)


def test_several_seats_are_one_document_with_names_of_their_own():
    other = Trace("t", 0, "critic/2", "big", TURNS[:2], Outcome.OK)
    told = to_atif(episode(Trace("t", 0, "solver", "nano", TURNS), other), (as_tool(calculator),))
    (inner,) = told["subagent_trajectories"]
    assert told["trajectory_id"] != inner["trajectory_id"]
    assert told["session_id"] == inner["session_id"] == "t/0"
    assert inner["agent"]["model_name"] == "big"
    assert told["agent"]["tool_definitions"][0]["function"]["name"] == "calculator"


def test_the_file_is_json_with_score_and_task(tmp_path):
    told = json.loads(write_trajectory(tmp_path / "t.json", episode()).read_text("utf-8"))
    assert told == to_atif(episode())
    assert told["schema_version"] == "ATIF-v1.7"
    assert (told["extra"]["score"], told["extra"]["family"], told["extra"]["info"]) == (0.5, "sums", {"files": "abc"})


def test_silence_has_no_trajectory():
    with pytest.raises(BadInput, match="nothing was said"):
        to_atif(episode(Trace("t", 0, "agent", "nano", (), Outcome.INFRASTRUCTURE_FAILED)))


@pytest.mark.skipif("EVOLVENT_HARBOR_PYTHON" not in os.environ, reason="no Python with harbor named")
def test_harbor_itself_reads_a_trajectory(tmp_path):
    recited = turn(0, said("user", "a")), turn(1, said("assistant", "b"), (1,), finish="recited")
    other = Trace("t", 0, "critic/2", "big", recited, Outcome.OK)
    write_trajectory(tmp_path / "t.json", episode(*episode().traces, other), (as_tool(calculator),))
    script = (
        "import pathlib, sys\nfrom harbor.models.trajectories import Trajectory\n"
        "t = Trajectory.model_validate_json(pathlib.Path(sys.argv[1]).read_text())\n"
        "assert len(t.steps) == 4 and t.steps[2].metrics.completion_token_ids == [4, 5]\n"
        "assert len(t.subagent_trajectories) == 1\n"
    )
    subprocess.run([os.environ["EVOLVENT_HARBOR_PYTHON"], "-c", script, str(tmp_path / "t.json")], check=True)
