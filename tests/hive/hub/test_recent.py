import asyncio
import time
from contextlib import contextmanager

import pytest
from sqlalchemy import event, update

from evolvent.hive.hub.database import open_database
from evolvent.hive.hub.recent import FRESH_S, MARK, MAX_NUM, STALE_S, Recent
from evolvent.hive.hub.schema import tasks

from .scene import Scene


@pytest.fixture
def scene(client):
    return Scene(client)


@contextmanager
def statements(hub):
    """What the database is asked within the block."""
    asked = []

    def note(connection, cursor, statement, *_):
        asked.append(statement)

    event.listen(hub.database.engine, "before_cursor_execute", note)
    yield asked
    event.remove(hub.database.engine, "before_cursor_execute", note)


@pytest.mark.parametrize("path", ["/context", "/runs?sort=score", "/leaderboard", "/feed", "/graph"])
def test_an_answer_is_given_again_without_a_look_into_the_database(scene, path):
    scene.client.app.state.recent.clock = lambda: 0.0  # no time passes
    first = scene.ask("GET", path)
    with statements(scene.hub) as asked:
        again = scene.ask("GET", path, "ann")
    assert (again.status_code, again.content, asked) == (200, first.content, [])
    assert {name: again.headers[name] for name in ("content-type", "x-content-type-options")} == {
        "content-type": "application/json",
        "x-content-type-options": "nosniff",
    }


def test_whoever_has_written_reads_what_it_wrote(scene):
    for number in range(20):
        made = scene.ask("POST", "/feed", "ann", json={"type": "post", "content": f"number {number}"})
        assert made.status_code == 201
        assert scene.get("/feed")["items"][0]["content"] == f"number {number}"
        assert scene.get("/context")["task"]["stats"]["total_posts"] == number + 1


def test_what_another_process_wrote_is_seen_soon(scene):
    assert scene.get("/context")["task"]["name"] == "Golf"
    other = open_database(str(scene.hub.home / "hub.db"))
    with other.write() as connection:
        connection.execute(update(tasks).values(name="Renamed", version=tasks.c.version + 1))
    other.close()
    time.sleep(1.2 * FRESH_S)
    assert scene.get("/context")["task"]["name"] == "Renamed"


def test_what_depends_on_who_asks_is_never_given_to_another(scene):
    scene.ask("GET", "/budget", "ann")
    assert scene.ask("GET", "/budget").status_code == 401
    assert scene.ask("GET", "/budget", "bob").status_code == 200


def test_a_refusal_is_not_kept(scene):
    assert scene.ask("GET", "/api/tasks/other/context").status_code == 404
    scene.open("other")
    assert scene.ask("GET", "/api/tasks/other/context").status_code == 200


def test_an_answer_of_one_host_is_not_given_at_another(scene):
    one, other = (scene.client.get("/api/tasks/golf/context", headers={"Host": name}).json() for name in ("a", "b"))
    assert one["task"]["repo_url"] != other["task"]["repo_url"]


# ---------------------------------------------------------------- several requests at once


class Clock:
    def __init__(self):
        self.at, self.writes = 0.0, 0

    def recent(self):
        return Recent(lambda: self.writes, lambda: self.at)


def scope(path="/api/tasks/golf/context"):
    return {"raw_path": path.encode(), "path": path, "query_string": b"", "headers": [], "scheme": "http"}


def answer(recent, body, asked=None):
    asked = asked or scope()
    with recent.renew(asked) as renewal:
        asked[MARK] = True
        renewal.hear({"type": "http.response.start", "status": 200, "headers": []})
        renewal.hear({"type": "http.response.body", "body": body})


def test_one_looks_while_the_others_are_told_what_was_true_until_then():
    async def play():
        clock = Clock()
        recent = clock.recent()
        answer(recent, b"old")
        assert (await recent.find(scope())).body == b"old"
        clock.at = FRESH_S
        assert await recent.find(scope()) is None, "somebody has to look"
        with recent.renew(scope()):
            assert (await recent.find(scope())).body == b"old"
            clock.at = STALE_S
            waiting = asyncio.create_task(recent.find(scope()))
            await asyncio.sleep(0)
            assert not waiting.done(), "too old to be told without a look"
            waiting.cancel()

    asyncio.run(play())


def test_after_a_write_all_wait_for_the_one_that_makes_the_answer_anew():
    async def play():
        clock = Clock()
        recent = clock.recent()
        answer(recent, b"old")
        clock.writes = 1
        asked = scope()
        with recent.renew(asked) as renewal:
            waiting = [asyncio.create_task(recent.find(scope())) for _ in range(3)]
            await asyncio.sleep(0)
            assert not any(one.done() for one in waiting)
            asked[MARK] = True
            renewal.hear({"type": "http.response.start", "status": 200, "headers": []})
            renewal.hear({"type": "http.response.body", "body": b"new"})
        assert [given.body for given in await asyncio.gather(*waiting)] == [b"new"] * 3

    asyncio.run(play())


def test_an_answer_that_was_begun_before_a_write_is_not_given_after_it():
    async def play():
        clock = Clock()
        recent = clock.recent()
        answer(recent, b"old")
        clock.at, asked = FRESH_S, scope()
        with recent.renew(asked) as renewal:
            clock.writes = 1
            assert await recent.find(scope()) is None, "this one must look for itself"
            asked[MARK] = True
            renewal.hear({"type": "http.response.start", "status": 200, "headers": []})
            renewal.hear({"type": "http.response.body", "body": b"from before the write"})
        assert await recent.find(scope()) is None

    asyncio.run(play())


def test_what_comes_in_parts_or_breaks_is_not_kept_and_nobody_waits_for_ever():
    async def play():
        recent = Clock().recent()
        asked = scope("/api/events")
        with recent.renew(asked) as renewal:
            asked[MARK] = True
            renewal.hear({"type": "http.response.start", "status": 200, "headers": []})
            renewal.hear({"type": "http.response.body", "body": b"one", "more_body": True})
            renewal.hear({"type": "http.response.body", "body": b"two"})
        assert await recent.find(scope("/api/events")) is None
        answer(recent, b"old")
        recent.count_writes = lambda: 1
        with pytest.raises(RuntimeError), recent.renew(scope()):
            waiting = asyncio.create_task(recent.find(scope()))
            await asyncio.sleep(0)
            raise RuntimeError("the route broke")
        assert await waiting is None

    asyncio.run(play())


def test_strange_queries_cannot_fill_the_memory():
    async def play():
        recent = Clock().recent()
        for number in range(2 * MAX_NUM + 5):
            answer(recent, b"x" * 10, scope(f"/api/tasks/{number}/context"))
        assert len(recent._given) <= MAX_NUM
        assert recent._num_bytes == 10 * len(recent._given)

    asyncio.run(play())
