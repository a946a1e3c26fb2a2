import pytest

from evolvent.errors import BadInput
from evolvent.hive.hub.refusals import Refused
from evolvent.hive.hub.runs import find_run
from evolvent.hive.hub.schema import jobs, runs
from hive.forge import TASK
from hive.hub.desk import NAME, Desk


@pytest.fixture
def desk(hub, tmp_path):
    return Desk(hub, tmp_path)


def refused(status, call, *words, **more):
    with pytest.raises(Refused) as found:
        call(*words, **more)
    assert found.value.status == status, found.value
    return str(found.value)


def test_a_run_is_a_commit_with_a_number_a_post_and_a_measurement_that_waits(any_hub, tmp_path):
    desk = Desk(any_hub, tmp_path)
    sha = desk.enter("ann", "first", tldr="shorter", message="It is shorter.", score=0.9, parent=desk.row()["base_sha"])
    run = desk.run(sha)
    assert (run["number"], run["agent_id"], run["status"], run["claim"]) == (2, "ann", "pending", 0.9)
    assert run["value"] is None, "what an agent says is no number"
    assert run["post_id"] and desk.jobs()[-1]["sha"] == sha
    assert desk.row()["num_runs"] == 2 and desk.row()["num_agents"] == 1


def test_the_same_said_twice_is_one_run(desk):
    sha = desk.enter("ann", "first")
    assert desk.submit("ann", sha)["number"] == 2
    assert desk.row()["num_runs"] == 2 and len(desk.jobs()) == 2


def test_a_commit_that_was_never_pushed_is_no_run(desk):
    with pytest.raises(BadInput, match="no such commit"):
        desk.submit("ann", "1" * 40)
    assert desk.row()["num_runs"] == 1


def test_a_push_that_the_hub_was_stopped_before_noting_still_counts(desk):
    sha = desk.commit("ann", "unnoted", is_noted=False)
    assert desk.submit("ann", sha)["number"] == 2


def test_nobody_submits_what_another_pushed(desk):
    sha = desk.commit("ann", "mine")
    desk.commit("bob", "mine")  # the same commit, in both forks
    assert "ann" in refused(409, desk.submit, "bob", sha)
    assert desk.submit("ann", sha)["agent_id"] == "ann"
    assert "run 2 of ann" in refused(409, desk.submit, "bob", sha)


def test_nobody_submits_from_anothers_fork(desk):
    sha = desk.commit("ann", "mine", is_noted=False)
    with pytest.raises(BadInput, match="no such commit"):
        desk.submit("bob", sha)


@pytest.mark.parametrize("sha", ["", "HEAD", "1" * 39, "1" * 41, "A" * 40, "0" * 40, "../" + "1" * 37, "1" * 40 + "\n"])
def test_what_is_no_name_of_a_commit_is_refused(desk, sha):
    with pytest.raises(BadInput):
        desk.submit("ann", sha)


@pytest.mark.parametrize("score", [float("nan"), float("inf"), -float("inf"), True, "0.9", [0.9], 10**400])
def test_a_claim_is_a_finite_number_or_none(desk, score):
    with pytest.raises(BadInput, match="finite"):
        desk.submit("ann", desk.commit("ann", "x"), score=score)
    assert desk.row()["num_runs"] == 1


def test_a_parent_is_a_run_of_the_same_task(desk):
    first, second = desk.enter("ann", "first"), desk.commit("ann", "second")
    for parent in ("f" * 40, "abc", "x" * 10, second, "%", "_" * 40):
        with pytest.raises(BadInput, match="parent is no run"):
            desk.submit("ann", second, parent=parent)
    assert desk.submit("ann", second, parent=first[:8])["parent_sha"] == first


def test_a_prefix_that_several_runs_share_names_none(desk):
    desk.enter("ann", "first")
    with desk.hub.database.write() as connection:
        row = dict(connection.execute(runs.select().where(runs.c.number == 2)).mappings().one())
        for i in (3, 4):
            connection.execute(runs.insert().values(row | {"sha": f"{'abcdef0'}{i:033x}", "number": i}))
    with desk.hub.database.read() as connection:
        with pytest.raises(BadInput, match="several"):
            find_run(connection, NAME, "abcdef0")
        assert find_run(connection, NAME, "abcdef0" + f"{3:033x}")["number"] == 3


def test_the_budget_is_the_hubs_ledger(hub, tmp_path):
    desk = Desk(hub, tmp_path, toml=TASK.replace("evaluations = 10", "evaluations = 2"))
    for i in range(2):
        desk.enter("ann", f"try {i}", tokens=10)
    assert "evaluations" in refused(403, desk.enter, "ann", "one more")
    assert desk.row()["num_runs"] == 3 and desk.enter("bob", "his own")


def test_seconds_that_were_measured_count_too(hub, tmp_path):
    from evolvent.hive.hub.tasks import change_task

    desk = Desk(hub, tmp_path)
    _, admin = desk.user("admin")
    with hub.database.write() as connection:
        change_task(connection, NAME, admin, {"limits": {"evaluations": 10, "seconds": 0.4}})
    desk.enter("ann", "slow")
    desk.work(lambda *_: 0.5)  # half a second
    assert "seconds" in refused(403, desk.enter, "ann", "another")


def test_a_closed_task_takes_nothing(desk):
    from evolvent.hive.hub.tasks import change_task

    sha = desk.commit("ann", "late")
    _, admin = desk.user("admin")
    with desk.hub.database.write() as connection:
        change_task(connection, NAME, admin, {"state": "closed"})
    assert "closed" in refused(409, desk.submit, "ann", sha)


def test_a_submission_that_fails_half_way_leaves_nothing(desk, monkeypatch):
    from evolvent.hive.hub import runs as runs_module

    def fall(*_, **__):
        raise RuntimeError("power")

    sha = desk.commit("ann", "first")
    before = desk.row()
    monkeypatch.setattr(runs_module, "enqueue", fall)
    with pytest.raises(RuntimeError):
        desk.submit("ann", sha)
    assert desk.row() == before and len(desk.jobs()) == 1


def test_racing_submits_get_numbers_without_a_gap(any_hub, tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    desk = Desk(any_hub, tmp_path, "ann", "bob")
    shas = {agent: [desk.commit(agent, f"{agent} {i}") for i in range(8)] for agent in ("ann", "bob")}
    with ThreadPoolExecutor(8) as pool:
        done = [pool.submit(desk.submit, agent, sha) for agent, mine in shas.items() for sha in mine]
        numbers = sorted(one.result()["number"] for one in done)
    assert numbers == list(range(2, 18)) and desk.row()["num_runs"] == 17
    with any_hub.database.read() as connection:
        assert len(connection.execute(jobs.select()).all()) == 17
