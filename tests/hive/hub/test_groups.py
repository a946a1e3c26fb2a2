import threading
from concurrent.futures import wait

import pytest
from sqlalchemy import func, insert, select

from evolvent.hive.hub.schema import invites


def add(name):
    def work(connection):
        connection.execute(insert(invites).values(code_hash=name, uses_left=1, created_at=""))
        return name

    return work


def names(hub):
    with hub.database.read() as connection:
        return set(connection.execute(select(invites.c.code_hash)).scalars())


def held(hub):
    """A first work that waits until it is let go, so that all others come together behind it."""
    begun, go = threading.Event(), threading.Event()

    def work(connection):
        begun.set()
        assert go.wait(10)

    hub.database.together(work)
    assert begun.wait(10)
    return go


def test_what_waits_together_is_kept_by_one_commit(any_hub):
    go, before = held(any_hub), any_hub.database.num_writes
    futures = [any_hub.database.together(add(f"{i}")) for i in range(10)]
    assert not any(future.done() for future in futures)
    go.set()
    assert [future.result(10) for future in futures] == [f"{i}" for i in range(10)]
    assert any_hub.database.num_writes == before + 2, "the one that held, and all ten"
    assert names(any_hub) == {f"{i}" for i in range(10)}


def test_one_that_fails_leaves_nothing_and_takes_nobody_with_it(any_hub):
    def fails(connection):
        add("half")(connection)
        raise ValueError("no")

    go = held(any_hub)
    good, bad, double, after = (any_hub.database.together(one) for one in (add("a"), fails, add("a"), add("b")))
    go.set()
    wait([good, bad, double, after], 10)
    assert isinstance(bad.exception(), ValueError) and double.exception() is not None
    assert (good.result(), after.result(), names(any_hub)) == ("a", "b", {"a", "b"})


def test_one_alone_that_fails_leaves_nothing(any_hub):
    def fails(connection):
        add("half")(connection)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        any_hub.database.together(fails).result(10)
    assert names(any_hub) == set()


def test_an_answer_comes_only_once_the_write_is_kept(hub):
    for i in range(20):
        hub.database.together(add(f"{i}")).result(10)
        with hub.database.read() as connection:
            assert connection.execute(select(func.count()).select_from(invites)).scalar() == i + 1


def test_what_nobody_waits_for_any_more_is_not_begun(hub):
    go = held(hub)
    dropped = hub.database.together(add("dropped"))
    assert dropped.cancel()
    go.set()
    assert hub.database.together(add("kept")).result(10) == "kept"
    assert names(hub) == {"kept"}


def test_closing_finishes_what_waits_and_the_next_write_starts_anew(hub):
    futures = [hub.database.together(add(f"{i}")) for i in range(200)]
    hub.database._groups.close()
    assert all(future.done() for future in futures) and len(names(hub)) == 200
    assert hub.database.together(add("again")).result(10) == "again"


def test_writes_of_many_threads_all_arrive_once(any_hub):
    def many(start):
        for i in range(start, start + 25):
            any_hub.database.together(add(f"{i}")).result(10)

    threads = [threading.Thread(target=many, args=(25 * i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(names(any_hub)) == 100
