"""Attacks on a hub by time, order, statistics and the web: what is sealed stays sealed, and nobody stops the others."""


import httpx
import pytest

from evolvent.hive.hub.app import make_app
from evolvent.hive.sealed import Bench
from evolvent.hive.task_folder import Shelf
from evolvent.hive.work import Worker
from evolvent.serve.door import background
from hive.forge import HONEST, LABELS, PREDICT, make_task
from hive.hub.desk import NAME, Desk, report

RIGHT = PREDICT + f"predict({LABELS})\n"
TELLTALE = "print(open('inputs/questions.json').read())\n" + HONEST


@pytest.fixture
def desk(any_hub, tmp_path):
    return Desk(any_hub, tmp_path, "ann", "eve")


@pytest.fixture
def lone(hub, tmp_path):
    return Desk(hub, tmp_path, "ann", "eve")


def speak(hub, **settings):
    from starlette.testclient import TestClient

    return TestClient(make_app(hub), **settings)


def as_agent(desk, name="eve"):
    return {"X-Agent-Token": desk.tokens[name]}


def as_user(desk, role):
    return {"Authorization": f"Bearer {desk.user(role)[0]}"}


# ---------------------------------------------------------------- what is sealed


def test_an_artifact_that_prints_its_questions_tells_them_to_no_agent(lone):
    """With the sealed questions in hand their answers could be worked out at leisure, and shipped in an artifact."""
    sha = lone.commit("eve", "a telltale", files={"solve.py": TELLTALE})
    lone.submit("eve", sha)
    with background(make_app(lone.hub)) as url, httpx.Client(base_url=url) as client:
        Worker(url, lone.user("worker")[0], Bench(Shelf(lone.folder / "w"))).run(until_idle=True)
        at = f"/api/tasks/{NAME}/runs/{sha}"
        for headers in ({}, as_agent(lone), as_user(lone, "user"), as_user(lone, "worker")):
            said = client.get(at, headers=headers)
            assert said.json()["verified_score"] == 0.5, said.text
            assert '"x"' not in said.text and not said.json()["log"]
        assert '"x": 54' in client.get(at, headers=as_user(lone, "admin")).json()["log"], "whoever may see it does"


def test_the_holdout_is_asked_with_its_own_seeds(tmp_path):
    """Else a task whose hold-out is other seeds alone would be held out on the very questions that were trained on."""
    task, bench = make_task(tmp_path / "task"), Bench(Shelf(tmp_path / "shelf"))
    bench.shelf.put(task)
    held_out = bench.measure_files(task.digest, task.baseline, bundle="holdout")
    assert [one.seed for one in held_out.seeds] == list(task.holdout_seeds) != list(task.seeds)


# ---------------------------------------------------------------- the keep rule


def lead_by_eve(desk):
    """A run of eve's that was kept, and one of ann's that measured better."""
    desk.work(lambda sha, kind: 0.5)
    mine = desk.enter("eve", "first")
    desk.work(lambda sha, kind: 0.7 if sha == mine else 0.5)
    assert desk.row()["best_sha"] == mine
    return mine, desk.enter("ann", "better")


def test_a_best_that_breaks_on_purpose_once_it_stands_is_not_the_best_for_ever(desk):
    """An artifact can look at the clock, pass its own comparison, and be invalid in every later one."""
    mine, hers = lead_by_eve(desk)
    values = {mine: "late: it ran longer than 20 s", hers: 0.9}
    for _ in range(10):
        desk.hasten()
        desk.work(lambda sha, kind: 0.7 if sha == mine and kind == "measure" else values.get(sha, 0.5))
    assert desk.row()["best_sha"] == hers, desk.run(hers)
    assert desk.run(mine)["is_kept"] is False and "invalid" in desk.run(mine)["comparison"]


def test_a_best_that_was_late_once_on_a_busy_machine_stays(desk):
    mine, hers = lead_by_eve(desk)
    num_late = iter([True])
    for _ in range(10):
        desk.hasten()
        desk.work(
            lambda sha, kind: (
                "late"
                if sha == mine and kind == "compare" and next(num_late, False)
                else {mine: 0.7, hers: 0.9}.get(sha, 0.5)
            )
        )
        if desk.run(hers)["is_kept"] is not None:
            break
    assert desk.row()["best_sha"] == hers and desk.run(mine)["is_kept"] is True, "it was beaten, it did not fall"
    assert desk.run(hers)["comparison"] and desk.row()["num_compared"] == 2, "and the second try cost no other number"


def test_copies_of_one_tree_challenge_once_and_the_highest_first(lone):
    """Copies that measure a little higher by luck would raise the number of comparisons, and with it the price."""
    lone.work(lambda sha, kind: 0.5)
    copies = [lone.enter("eve", f"copy {i}") for i in range(6)]
    hers = lone.enter("ann", "better")
    for _ in (*copies, hers):
        order = lone.order()
        assert order["kind"] == "measure"
        value = 0.9 if order["commit"] == hers else 0.6
        lone.settle(order, [report(value) | {"tree_digest": ("e" if order["commit"] != hers else "a") * 64}])
    done = lone.work(lambda sha, kind: 0.9 if sha == hers else 0.4)
    assert done[0] == ("compare", hers), "the one that measured highest is compared first"
    assert lone.row()["best_sha"] == hers and lone.row()["num_compared"] == 1, done


def test_a_tree_that_lost_to_this_best_does_not_try_again_under_another_name(lone):
    lone.work(lambda sha, kind: 0.5)
    for i in range(3):
        sha = lone.enter("eve", f"again {i}")
        order = lone.order()
        lone.settle(order, [report(0.6) | {"tree_digest": "e" * 64}])
        lone.work(lambda sha, kind: 0.4 if kind == "compare" and sha != lone.row()["best_sha"] else 0.5)
        assert lone.row()["num_compared"] == 1, f"copy {i}"
        assert lone.run(sha)["is_kept"] is (False if i == 0 else None)


# ---------------------------------------------------------------- nobody is locked out by somebody else


def test_guesses_from_an_address_lock_nobody_out_who_has_a_token(lone):
    """Agents of one machine, or of one proxy, share an address."""
    worker = as_user(lone, "worker")
    with speak(lone.hub) as client:
        codes = [client.post("/api/agents/token", headers={"X-Agent-Token": f"ha_{i}"}).status_code for i in range(30)]
        assert codes[-1] == 429, "the guesser is slowed down"
        assert client.get(f"/api/tasks/{NAME}/budget", headers=as_agent(lone)).status_code == 200
        assert (
            client.post(
                f"/api/tasks/{NAME}/feed", json={"type": "post", "content": "hi"}, headers=as_agent(lone)
            ).status_code
            == 201
        )
        sha = lone.commit("eve", "mine")
        assert client.post(f"/api/tasks/{NAME}/submit", json={"sha": sha}, headers=as_agent(lone)).status_code == 201
        assert client.post("/api/work/lease", json={}, headers=worker).status_code == 200


def test_guesses_at_somebodys_key_do_not_keep_it_from_pushing(lone):
    at = f"/git/fork--{NAME}--ann.git/info/refs?service=git-receive-pack"
    with speak(lone.hub) as client:
        codes = [client.get(at, auth=("ann", f"guess {i}")).status_code for i in range(30)]
        assert codes[0] == 401 and codes[-1] == 429, "the guesser is slowed down"
        assert client.get(at, auth=("ann", "key of ann")).status_code == 200
