import itertools
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import insert, select, update

from evolvent.errors import BadInput
from evolvent.hive.hub import schema
from evolvent.hive.hub.entry import enter
from evolvent.hive.hub.hub import open_hub
from evolvent.hive.hub.identity import register
from evolvent.hive.hub.runs import Submission, submit
from evolvent.hive.hub.schema import commits, tasks
from evolvent.hive.hub.times import now

TASK, AGENTS, NUM_COMMITS = "golf", ("ann", "bob"), 4
MOMENTS = (
    "at",
    "created_at",
    "last_activity",
    "not_before",
    "last_seen_at",
    "registered_at",
    "version",
)
COUNTED = ("id", "post_id", "ref")  # a database that was used before goes on counting
TABLES = ("tasks", "agents", "runs", "posts", "jobs", "spent", "events", "search_entries", "commits")


def sha(agent, number):
    return f"{AGENTS.index(agent)}{number}".ljust(40, "c")


def prepare(hub, limits="{}"):
    """A task, agents, and what they pushed: the first commit of the second agent was pushed by the first before."""
    row = {"id": TASK, "name": TASK, "description": "", "program": "", "config": "{}", "digest": "d" * 64}
    row |= {"base_sha": "0" * 40, "direction": "minimize", "limits": limits, "created_at": now()}
    clock = itertools.count()
    with hub.database.write() as connection:
        connection.execute(insert(tasks).values(**row, last_activity=now()))
        for agent in AGENTS:
            register(connection, agent)
        pushed = [(agent, sha(agent, number)) for agent in AGENTS for number in range(NUM_COMMITS)]
        for agent, name in [("ann", sha("bob", 0)), *pushed]:
            moment = f"2026-01-01T00:00:{next(clock):02d}"
            connection.execute(insert(commits).values(task_id=TASK, agent_id=agent, sha=name, pushed_at=moment))


def told(hub, way, agent, said, unlike=()):
    """What came of a submission, in words that can be compared."""
    try:
        with hub.database.write() as connection:
            row, is_new = way(hub, connection, TASK, agent, said)
            return {name: row[name] for name in row if name not in (*MOMENTS, *unlike)}, is_new
    except BadInput as error:
        return type(error).__name__, getattr(error, "status", 400), str(error)


def kept(hub, unlike=()):
    """All rows that a submission touches, without moments, how often the task was locked, and what else is unlike."""
    with hub.database.read() as connection:
        return {
            name: sorted(
                tuple((key, value) for key, value in row.items() if key not in (*MOMENTS, *unlike, "token_hash"))
                for row in map(dict, connection.execute(select(schema.metadata.tables[name])).mappings())
            ).__repr__()
            for name in TABLES
        }


submissions = st.builds(
    Submission,
    sha=st.sampled_from([sha(agent, number) for agent in AGENTS for number in range(NUM_COMMITS)] + ["e" * 40, "0c"]),
    branch=st.sampled_from(["", "main"]),
    tldr=st.sampled_from(["", 'a try: it\'s "quoted" %s %(x)s :b_sha ✓']),
    message=st.sampled_from(["", "two\nlines, snake_case and ½"]),
    parent=st.sampled_from([None, "", "none", sha("ann", 0), sha("ann", 1), sha("bob", 1)[:9], "f" * 40, "x"]),
    score=st.sampled_from([None, 1, 0.5, float("nan"), "0.25", True]),
    tokens=st.sampled_from([0, 7]),
    money=st.sampled_from([0.0, 0.25]),
)
limits = st.sampled_from(["{}", '{"evaluations": 2}', '{"tokens": 10, "money": 0.4}'])


def compare(long_way, short_way, steps, unlike=()):
    for agent, said in steps:
        ours, other = told(short_way, enter, agent, said, unlike), told(long_way, submit, agent, said, unlike)
        assert ours == other, (agent, said)
    assert kept(short_way, unlike) == kept(long_way, unlike)


@settings(max_examples=12, deadline=None)
@given(steps=st.lists(st.tuples(st.sampled_from(AGENTS), submissions), max_size=12), limits=limits)
def test_the_short_way_leaves_and_answers_what_the_long_way_does(steps, limits):
    with tempfile.TemporaryDirectory() as home:
        hubs = [open_hub(Path(home) / name) for name in ("long", "short")]
        for hub in hubs:
            prepare(hub, limits)
        compare(*hubs, steps)
        for hub in hubs:
            hub.close()


def test_both_ways_are_one_on_postgres_too(tmp_path, postgres):
    urls = [postgres.take() for _ in range(2)]
    hubs = [open_hub(tmp_path / name, url) for name, url in zip(("long", "short"), urls, strict=True)]
    for hub in hubs:
        prepare(hub, '{"evaluations": 3}')
    first = Submission(sha("ann", 0), "main", "first", "50 % of %(it)s", None, 0.5, 3, 0.1)
    steps = [("ann", first), ("ann", first), ("bob", Submission(sha("ann", 0))), ("bob", Submission(sha("bob", 0)))]
    steps += [("bob", Submission(sha("bob", 1), parent=sha("ann", 0), tldr="on top", score=None))]
    steps += [("ann", Submission(sha("ann", 1), parent=sha("bob", 1)[:8])), ("ann", Submission("9" * 40))]
    steps += [("ann", Submission(sha("ann", 2), parent="f" * 40)), ("ann", Submission(sha("ann", 2)))]
    steps += [("ann", Submission(sha("ann", 3)))]
    compare(*hubs, steps, unlike=COUNTED)
    for hub, url in zip(hubs, urls, strict=True):
        hub.close()
        postgres.give_back(url)


@pytest.mark.parametrize("way", [submit, enter])
def test_a_closed_task_takes_no_run(hub, way):
    prepare(hub)
    with hub.database.write() as connection:
        connection.execute(update(tasks).values(state="closed"))
    assert told(hub, way, "ann", Submission(sha("ann", 0)))[1] == 409


def test_what_one_writes_is_seen_by_the_next_of_the_same_transaction(any_hub):
    prepare(any_hub)
    with any_hub.database.write() as connection:
        first, _ = enter(any_hub, connection, TASK, "ann", Submission(sha("ann", 0)))
        second, _ = enter(any_hub, connection, TASK, "bob", Submission(sha("bob", 1), parent=sha("ann", 0)))
    assert (first["number"], second["number"], second["parent_sha"]) == (1, 2, sha("ann", 0))
