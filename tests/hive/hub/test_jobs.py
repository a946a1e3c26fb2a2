import pytest
from sqlalchemy import update

from evolvent.hive.hub.jobs import beat, enqueue, is_compared_soon, take_back
from evolvent.hive.hub.refusals import Refused
from evolvent.hive.hub.runs import call_off
from evolvent.hive.hub.schema import jobs
from evolvent.hive.hub.scores import give_up as end
from evolvent.hive.hub.scores import send_to_holdout
from evolvent.hive.hub.times import later
from hive.hub.desk import NAME, Desk, report


@pytest.fixture
def desk(any_hub, tmp_path):
    return Desk(any_hub, tmp_path)


def fail(desk, order, *, is_retryable=True):
    with desk.hub.database.write() as connection:
        job = take_back(connection, order["id"], order["lease"])
        end(desk.hub, connection, job, "the machine broke", is_retryable=is_retryable)


def forward(desk, seconds=10_000):
    """Let time pass: every wait and every lease is over."""
    with desk.hub.database.write() as connection:
        connection.execute(update(jobs).values(not_before=later(-seconds), lease_until=later(-seconds)))


def test_a_job_is_leased_to_one_worker(desk):
    assert desk.order()["commit"] == desk.row()["base_sha"]
    assert desk.order() is None and desk.run(desk.row()["base_sha"])["status"] == "running"


def test_agents_take_turns_however_much_one_of_them_submits(desk):
    desk.join("cy")
    desk.work(lambda *_: 0.5)
    mine = [desk.enter("ann", f"burst {i}") for i in range(4)]
    others = [desk.enter("bob", "one"), desk.enter("bob", "two"), desk.enter("cy", "its own")]
    order = [sha for kind, sha in desk.work(lambda *_: 0.4) if kind == "measure"]
    assert order == [mine[0], others[0], others[2], mine[1], others[1], mine[2], mine[3]]
    late = [desk.enter("ann", "later"), desk.enter("bob", "later still")]
    assert [desk.order()["commit"] for _ in late] == late[::-1], "ann was served last"


def test_a_worker_that_falls_silent_loses_its_job_and_its_result(desk):
    silent = desk.order()
    forward(desk)
    after = desk.order()
    assert after["id"] == silent["id"] and after["attempt"] == 2 and after["lease"] != silent["lease"]
    with pytest.raises(Refused, match="this lease is over"):
        desk.settle(silent, [report(0.9)])
    desk.settle(after, [report(0.5)])
    assert desk.row()["best_value"] == 0.5


def test_a_late_result_counts_where_nobody_else_began(desk):
    order = desk.order()
    forward(desk)
    desk.settle(order, [report(0.5)])
    assert desk.row()["best_value"] == 0.5 and desk.order() is None


def test_a_heartbeat_keeps_a_job(desk):
    order = desk.order()
    forward(desk)
    with desk.hub.database.write() as connection:
        beat(connection, order["id"], order["lease"], 60)
    assert desk.order() is None
    with desk.hub.database.write() as connection, pytest.raises(Refused):
        beat(connection, order["id"], "another lease", 60)


def test_a_failed_job_waits_longer_each_time_and_ends_as_an_error(desk):
    sha = desk.row()["base_sha"]
    for attempt in range(1, desk.hub.settings.max_attempts + 1):
        order = desk.order()
        assert order["attempt"] == attempt
        fail(desk, order)
        assert desk.order() is None, "it waits"
        forward(desk)
    assert desk.order() is None and desk.jobs()[0]["state"] == "dead"
    assert desk.run(sha)["status"] == "error" and "the machine broke" in desk.run(sha)["why"]


def test_a_scorer_that_breaks_is_not_tried_again(desk):
    fail(desk, desk.order(), is_retryable=False)
    assert desk.jobs()[0]["state"] == "dead"


def test_an_artifact_that_kills_its_workers_does_not_kill_them_for_ever(desk):
    for _ in range(desk.hub.settings.max_attempts):
        assert desk.order() is not None
        forward(desk)
    assert desk.order() is None
    assert "fell silent" in desk.run(desk.row()["base_sha"])["why"]


def give_up(desk, order):
    fail(desk, order, is_retryable=False)


def put_back(desk, sha):
    with desk.hub.database.write() as connection:
        call_off(desk.hub, connection, NAME, sha, True, None)


def test_what_was_given_up_is_asked_for_again_by_who_puts_the_run_back(desk):
    base = desk.row()["base_sha"]
    give_up(desk, desk.order())
    assert desk.order() is None and desk.run(base)["status"] == "error"
    put_back(desk, base)
    assert desk.run(base)["status"] == "pending" and desk.work(lambda *_: 0.5) == [("measure", base)]
    sha = desk.enter("ann", "better")
    desk.work(lambda *_: 0.9, most=1)
    give_up(desk, desk.order())
    assert desk.run(sha)["is_kept"] is False and "could not compare" in desk.run(sha)["comparison"]
    put_back(desk, sha)
    assert desk.work(lambda one, _: 0.9 if one == sha else 0.5) == [("compare", sha)]
    assert desk.row()["best_sha"] == sha
    with desk.hub.database.write() as connection:
        send_to_holdout(desk.hub, connection, NAME)
    give_up(desk, desk.order())
    desk.work(lambda *_: 0.5)
    lost = next(one for one in (sha, base) if desk.run(one)["holdout"] is None)
    put_back(desk, lost)
    assert desk.work(lambda *_: 0.5) == [("holdout", lost)] and desk.run(lost)["holdout"]


def test_a_run_is_being_compared_for_as_long_as_somebody_will(desk):
    desk.work(lambda *_: 0.5)
    sha = desk.enter("ann", "better")

    def is_comparing():
        with desk.hub.database.read() as connection:
            return is_compared_soon(connection, NAME, sha)

    assert not is_comparing()
    desk.work(lambda *_: 0.9, most=1)
    assert is_comparing()
    order = desk.order()
    assert is_comparing()
    give_up(desk, order)
    assert not is_comparing()


def test_the_same_is_asked_once(desk):
    with desk.hub.database.write() as connection:
        enqueue(connection, NAME, desk.row()["base_sha"], "measure")
    assert len(desk.jobs()) == 1


def test_an_artifact_that_cannot_be_taken_is_invalid_without_a_worker(desk):
    sha = desk.commit("ann", "huge", files={"lib/big.bin": "x" * 300_000})
    desk.submit("ann", sha)
    assert desk.work(lambda *_: 0.5) == [("measure", desk.row()["base_sha"])]
    assert desk.run(sha)["status"] == "failed" and "too large" in desk.run(sha)["why"]


def test_an_order_holds_only_what_lies_at_the_mutable_paths(desk):
    sha = desk.commit("ann", "sly", files={"eval/eval.sh": "echo 1.0", "lib/more.py": "x = 1"})
    desk.submit("ann", sha)
    orders = [desk.order(), desk.order()]
    mine = next(order for order in orders if order["commit"] == sha)
    assert set(mine["files"]) == {"solve.py", "lib/more.py"}
    assert mine["seeds"] is None and "sealed" not in str({**mine, "bundle": ""})
