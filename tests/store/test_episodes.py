import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evolvent.errors import BadInput, StoreError
from evolvent.records import (
    Episode,
    Fault,
    Image,
    Message,
    Origin,
    Outcome,
    Private,
    Reference,
    Sampling,
    Score,
    Span,
    Task,
    Text,
    ToolCall,
    ToolResult,
    Trace,
    Turn,
    said,
)
from evolvent.store import Run
from evolvent.store.episodes import COLUMNS, read_episodes, write_episodes

FLAT = """
run step task_id family level split episode_id sample seat policy outcome score components why num_tokens truncation
""".split()  # noqa: SIM905

texts = st.text(max_size=12)
ints = st.integers(-(2**31), 2**31 - 1)
floats = st.floats(allow_nan=False, allow_infinity=False)
plain = st.recursive(
    st.none() | st.booleans() | ints | floats | texts,
    lambda inner: st.dictionaries(texts, inner, max_size=2) | st.lists(inner, max_size=2).map(tuple),
    max_leaves=4,
)
objects = st.dictionaries(texts, plain, max_size=2)
blocks = st.one_of(
    texts.map(Text),
    texts.map(Image),
    st.builds(ToolCall, texts, st.none() | objects, texts),
    st.builds(ToolResult, texts, texts, st.booleans()),
)
messages = st.builds(
    Message, st.sampled_from(["system", "user", "assistant", "tool"]), st.lists(blocks, max_size=2).map(tuple)
)


def tuples(of: st.SearchStrategy, most: int = 3) -> st.SearchStrategy:
    return st.lists(of, max_size=most).map(tuple)


turns = st.builds(
    Turn,
    turn_id=texts,
    parent=st.none() | texts,
    seat=texts,
    round=ints,
    message=messages,
    tokens=tuples(ints),
    mask=tuples(st.booleans()),
    sampled_logprobs=tuples(floats),
    model_logprobs=tuples(floats),
    call_id=texts,
    version=ints,
    finish=texts,
    sampling=st.none() | st.builds(Sampling, ints, floats, floats, ints, ints),
    starts_context=st.booleans(),
)
scores = st.builds(
    Score,
    floats,
    st.dictionaries(texts, floats, max_size=2),
    texts,
    tuples(st.builds(Span, ints, ints, ints, floats), 2),
)
privates = st.builds(Private, texts, objects, tuples(messages, 1))
tasks = st.builds(
    Task,
    task_id=texts,
    family=texts,
    level=ints,
    prompt=tuples(messages, 2),
    private=st.none() | privates,
    judge=st.builds(Reference, texts, objects),
    origin=st.builds(Origin, texts, tuples(texts, 2)),
    split=texts,
)


@st.composite
def episodes(draw: st.DrawFn) -> list[Episode]:
    found = []
    for place in range(draw(st.integers(0, 3))):
        task, sample = draw(tasks), draw(ints)
        traces = st.builds(
            Trace,
            task_id=st.just(task.task_id),
            sample=st.just(sample),
            seat=texts,
            policy=texts,
            turns=tuples(turns),
            outcome=st.sampled_from(Outcome),
            truncation=texts,
            fault=st.none() | st.builds(Fault, texts, texts, texts),
            score=st.none() | scores,
            trainable=st.booleans(),
        )
        found.append(
            Episode(f"{draw(texts)}{place}", task, sample, draw(tuples(traces, 2)), draw(texts), draw(objects))
        )
    return found


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(episodes())
def test_what_is_written_is_read_back(tmp_path_factory: pytest.TempPathFactory, written: list[Episode]) -> None:
    folder = tmp_path_factory.mktemp("e")
    path, private = folder / "step-000001.parquet", folder / "private.parquet"
    write_episodes(path, written, run="r", step=1, private=private)
    read = read_episodes(path, private=private)
    assert read == written
    assert repr(read) == repr(written), "minus zero and types too"


def episode(place: int, score: float = 1.0, seats: tuple[str, ...] = ("agent",)) -> Episode:
    prompt = (said("user", f"What is {place} + 4?"),)
    secret = Private(f"answer-{place + 4}-secret", {"hidden": place})
    task = Task(
        f"t{place}", "arithmetic", 1 + place % 2, prompt, secret, Reference("m:f"), Origin("generator"), "train"
    )
    lp = (-0.1, -1 / 3)
    traces = tuple(
        Trace(
            task.task_id,
            0,
            seat,
            "agent",
            (
                Turn("a", None, seat, 0, prompt[0], (1, 2), (False, False)),
                Turn(
                    "b", "a", seat, 0, said("assistant", "8"), (3, 4), (True, True), lp, lp, "c", 5, "stop", Sampling(9)
                ),
            ),
            score=Score(score, {"exact": score}, "because"),
        )
        for seat in seats
    )
    return Episode(f"e{place}", task, 0, traces, "8")


def test_flat_columns_come_first_in_the_promised_order() -> None:
    assert list(COLUMNS)[:16] == FLAT
    assert list(COLUMNS)[16:20] == ["fault", "answer", "credit", "turns"]


def test_a_stranger_reads_the_file_with_duckdb(tmp_path: Path) -> None:
    import duckdb

    path = tmp_path / "x.parquet"
    write_episodes(path, [episode(1), episode(2, 0.0)], run="r", step=3, credit={("e1", "agent"): [0.0, 0.0, 0.5, 0.5]})
    sql = f"""SELECT episode_id, score, (components->>'$.exact')::DOUBLE, num_tokens, credit,
    turns[2].token_ids, turns[2].mask, turns[2].sampled_logprobs, turns[2].version, turns[2].role FROM '{path}'"""
    first, second = duckdb.sql(sql).fetchall()
    assert first == ("e1", 1.0, 1.0, 4, [0.0, 0.0, 0.5, 0.5], [3, 4], [True, True], [-0.1, -1 / 3], 5, "assistant")
    assert second[4] == []


def test_datasets_loads_the_file(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    path = tmp_path / "x.parquet"
    write_episodes(path, [episode(1), episode(2)], run="r", step=3, credit={("e1", "agent"): [0.0, 0.0, 0.5, 0.5]})
    code = """
import json, sys
from datasets import load_dataset
rows = load_dataset("parquet", data_files=sys.argv[1], split="train")
row = rows[0]
turn = row["turns"][1]
print(json.dumps([rows.num_rows, row["episode_id"], row["score"], turn["token_ids"], row["credit"], turn["mask"]]))
"""
    environment = {**os.environ, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        check=False,
        capture_output=True,
        text=True,
        env=environment,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout.splitlines()[-1]) == [2, "e1", 1.0, [3, 4], [0.0, 0.0, 0.5, 0.5], [True, True]]


def test_private_fields_never_stand_beside_prompts(tmp_path: Path) -> None:
    import duckdb

    run = Run.create("{}", "improve", 0, tmp_path / "r")
    kept = [episode(1), episode(2)]
    path = run.keep_episodes(4, kept)
    public = str(duckdb.sql(f"SELECT * FROM '{path}'").fetchall())
    assert "secret" not in public and "hidden" not in public
    assert run.episodes(4) == kept
    without = read_episodes(path)
    assert [e.task.private for e in without] == [None, None]
    assert (run.path / "private" / "step-000004.parquet").exists()


def test_a_filter_keeps_whole_episodes(tmp_path: Path) -> None:
    run = Run.create("{}", "improve", 0, tmp_path / "r")
    run.keep_episodes(1, [episode(1, seats=("left", "right")), episode(2)])
    run.keep_episodes(2, [episode(3)], name="after")
    found = run.episodes(where="seat = 'right'  -- a comment")
    assert [(e.episode_id, len(e.traces)) for e in found] == [("e1", 2)]
    assert [e.episode_id for e in run.episodes()] == ["e1", "e2", "e3"]
    assert [e.episode_id for e in run.episodes(name="after")] == ["e3"]
    assert [e.episode_id for e in run.episodes(step=1, where="level = 1")] == ["e2"]
    assert run.episodes(step=9) == []


def test_the_same_episodes_give_the_same_bytes(tmp_path: Path) -> None:
    for name in "ab":
        write_episodes(tmp_path / name, [episode(i) for i in range(20)], run="r", step=3)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"]


def test_bad_input_is_said(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    write_episodes(path, [episode(1)], run="r", step=1)
    with pytest.raises(BadInput, match="colour") as caught:
        read_episodes(path, "colour = 'red'")
    assert "family" in caught.value.cure
    with pytest.raises(StoreError, match="not there"):
        read_episodes(tmp_path / "y.parquet")
    (tmp_path / "z.parquet").write_text("not parquet")
    with pytest.raises(StoreError, match="cannot be read"):
        read_episodes(tmp_path / "z.parquet")
    with pytest.raises(BadInput, match="one id"):
        write_episodes(path, [episode(1), episode(1)], run="r", step=1)
    with pytest.raises(BadInput, match="one number per token"):
        write_episodes(path, [episode(1)], run="r", step=1, credit={("e1", "agent"): [1.0]})
    assert len(read_episodes(path)) == 1, "what was there before is kept"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.parquet", "z.parquet"]


def test_text_that_is_no_unicode_does_not_break_a_run(tmp_path: Path) -> None:
    odd = episode(1)
    turn = Turn("a", None, "agent", 0, said("assistant", "x\ud800y"), (1,), (True,))
    trace = Trace("t1", 0, "agent", "agent", (turn,), fault=Fault("k", "\ud800"))
    write_episodes(tmp_path / "x", [Episode("e1", odd.task, 0, (trace,), "\udfff")], run="r", step=1)
    (read,) = read_episodes(tmp_path / "x")
    assert read.answer == "?" and read.traces[0].turns == (turn,)


def test_ctrl_c_inside_the_database_is_ctrl_c(tmp_path):
    import os
    import signal
    import threading

    from evolvent.store.episodes import _database

    threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt), _database() as database:
        database.execute("SELECT sum(a.range * b.range) FROM range(10000000) a, range(1000000) b").fetchall()
