"""Attacks on a hub by time, order, statistics and the web: what is sealed stays sealed, and nobody stops the others."""

import contextlib
import shutil
import threading
import time

import httpx
import pytest
from sqlalchemy import select, update

from evolvent.hive.hub.app import make_app
from evolvent.hive.hub.hub import open_hub
from evolvent.hive.hub.refusals import Refused
from evolvent.hive.hub.schema import jobs, runs
from evolvent.hive.hub.scores import send_to_holdout
from evolvent.hive.hub.tasks import change_task
from evolvent.hive.hub.times import later
from evolvent.hive.sealed import Bench
from evolvent.hive.task_folder import Shelf
from evolvent.hive.work import Worker
from evolvent.serve.door import background
from hive.forge import HONEST, LABELS, PREDICT, blob, commit_tree, make_task, tree
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


def test_a_best_that_breaks_is_looked_at_twice_however_often_a_worker_was_lost_before(desk):
    mine, hers = lead_by_eve(desk)
    desk.work(lambda sha, kind: 0.9 if sha == hers else 0.5, most=1)
    for _ in range(desk.hub.settings.max_attempts - 1):
        assert desk.order()["kind"] == "compare"
        with desk.hub.database.write() as connection:
            connection.execute(update(jobs).values(lease_until=later(-10)))
    for _ in range(3):
        desk.work(lambda sha, kind: "late" if sha == mine else 0.9 if sha == hers else 0.5)
        desk.hasten()
    assert desk.row()["best_sha"] == hers and "twice" in desk.run(mine)["comparison"]


def test_nobody_stands_before_the_baseline_is_measured(desk):
    """Else whoever is measured while the baseline waits for another attempt would be the best without a comparison."""
    baseline, sha = desk.order(), desk.enter("eve", "early")
    desk.work(lambda *_: 0.9)
    assert desk.run(sha)["value"] == 0.9 and desk.row()["best_sha"] is None
    desk.settle(baseline, [report(0.5)])
    assert desk.row()["best_sha"] == desk.row()["base_sha"]
    assert desk.work(lambda *_: 0.5) == [("compare", sha)] and desk.row()["best_sha"] == desk.row()["base_sha"]


def test_a_few_bytes_that_name_endless_folders_are_no_artifact_and_stop_nobody(lone):
    """Trees that name one another thousands of times cost nothing to push, and would take for ever to walk."""
    fork = lone.hub.repositories.path(f"fork--{NAME}--eve")
    inner = tree(fork, [("100644", "x", blob(fork, "x"))])
    for _ in range(3):
        inner = tree(fork, [("40000", f"{i:04d}", inner) for i in range(4000)])
    bomb = commit_tree(fork, tree(fork, [("40000", "solve.py", inner)]))
    lone.note("eve", bomb)
    lone.submit("eve", bomb)
    hers = lone.enter("ann", "honest")
    lone.work(lambda *_: 0.5)
    assert "more than 512 folders" in lone.run(bomb)["why"] and lone.run(hers)["value"] == 0.5


def test_a_run_whose_repository_is_broken_keeps_nobody_waiting(lone):
    lone.work(lambda *_: 0.5)
    sha, hers = lone.enter("eve", "gone"), lone.enter("ann", "honest")
    shutil.rmtree(lone.hub.repositories.path(f"fork--{NAME}--eve") / "objects")
    lone.work(lambda *_: 0.5)
    assert lone.run(hers)["value"] == 0.5 and lone.run(sha)["value"] is None


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
    done = []
    while (order := lone.order()) is not None:
        done.append((order["kind"], order["commit"]))
        is_hers = order["commit"] == hers
        if order["kind"] == "measure":
            lone.settle(order, [report(0.9 if is_hers else 0.6) | {"tree_digest": ("a" if is_hers else "e") * 64}])
        else:
            lone.settle(order, [report([value] * len(order["seeds"])) for value in (0.9 if is_hers else 0.4, 0.5)])
    assert sorted(sha for kind, sha in done if kind == "measure") == sorted([*copies, hers])
    assert [sha for kind, sha in done if kind == "compare"] == [hers], "the one that measured highest is compared first"
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


def test_copies_of_one_tree_do_not_use_up_the_looks_at_the_holdout(lone):
    """Whoever submits what measures highest five times over would leave no look for anybody else."""
    lone.work(lambda sha, kind: 0.5)
    shas = [lone.enter("eve", f"copy {i}") for i in range(8)] + [lone.enter("ann", "hers")]
    lone.work(lambda sha, kind: 0.4 if kind == "compare" else 0.8 if sha == shas[-1] else 0.9)
    with lone.hub.database.write() as connection:
        connection.execute(update(runs).where(runs.c.agent_id == "eve").values(tree_digest="e" * 64))
        due = send_to_holdout(lone.hub, connection, NAME)
        assert (
            set(due) == {lone.row()["base_sha"], shas[0], shas[-1]}
            and send_to_holdout(lone.hub, connection, NAME) == []
        )


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


def test_many_who_follow_what_happens_leave_room_for_the_others(lone, monkeypatch):
    monkeypatch.setattr("evolvent.hive.hub.api_events.MAX_STREAMS", 3)
    with background(make_app(lone.hub)) as url, contextlib.ExitStack() as stack:
        client, lines = stack.enter_context(httpx.Client(base_url=url, timeout=10)), []
        for _ in range(3):
            stream = stack.enter_context(client.stream("GET", "/api/events"))
            lines.append(stream.iter_text())  # a reader that is forgotten hangs up
            next(lines[-1])
        refused = client.get("/api/events")
        assert refused.status_code == 503 and refused.headers["Retry-After"] == "30"
        assert client.get("/api/activity").status_code == 200
        stream.close()
        until = time.monotonic() + 10
        while time.monotonic() < until:
            with client.stream("GET", "/api/events") as again:
                if again.status_code == 200:
                    return
            time.sleep(0.1)
        pytest.fail("nobody can follow once one has gone")


def test_what_nobody_may_send_is_not_written_to_disk(lone):
    """An archive of a task is spooled to a file before anybody is asked who sends it."""
    start = b'--b\r\nContent-Disposition: form-data; name="archive"; filename="a"\r\n\r\n'
    parts, kind = [start, *[b"x" * 2**18] * 16, b"\r\n--b--\r\n"], {"Content-Type": "multipart/form-data; boundary=b"}
    with speak(lone.hub) as client:
        for who in ({}, as_agent(lone), as_user(lone, "user"), {"Authorization": "Bearer hive_guess"}):
            assert client.post("/api/tasks", content=b"".join(parts), headers=who | kind).status_code == 413
        said = client.post("/api/tasks", content=b"".join(parts), headers=as_user(lone, "owner") | kind)
        assert said.status_code == 400 and "archive" in said.text, "that was read"
    with background(make_app(lone.hub)) as url:
        try:
            said = httpx.post(f"{url}/api/tasks", content=iter(parts), headers=kind, timeout=10).status_code
        except httpx.HTTPError:
            said = "it hung up"
        assert said != 401, "without a length, it was read to its end before anybody was asked"


# ---------------------------------------------------------------- pages of other sites


@pytest.fixture(scope="module")
def at_home(tmp_path_factory):
    """A hub that listens on loopback, as `evolvent hive serve` opens it."""
    from evolvent.cli.hive_serve import read_settings

    hub = open_hub(
        tmp_path_factory.mktemp("home") / "hub", settings=read_settings({"public_url": "https://hive.example.org/x"})
    )
    yield hub
    hub.close()


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "[", "", "localhost@evil.example"]
)
@pytest.mark.parametrize(
    "path", ["/api/tasks", "/", "/health", "/git/task--labels.git/info/refs?service=git-upload-pack"]
)
def test_a_name_that_was_bound_to_this_machine_reads_no_hub_on_loopback(at_home, host, path):
    with speak(at_home) as client:
        said = client.get(path, headers={"Host": host})
        assert said.status_code == 403 and "public_url" in said.text, said.text


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:8000", "[::1]:8000", "hive.example.org", "HIVE.example.org"])
def test_a_hub_on_loopback_answers_to_its_own_names(at_home, host):
    with speak(at_home) as client:
        assert client.get("/api/tasks", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1.evil.example", "http://[", "file://"]
)
def test_a_page_of_another_site_changes_nothing(at_home, lone, origin):
    for hub, host in ((at_home, "127.0.0.1:8000"), (lone.hub, "hive.lan")):
        with speak(hub) as client:
            said = client.post("/api/register", headers={"Origin": origin, "Host": host})
            assert said.status_code == 403, said.text
            mine = client.post("/api/register", headers={"Origin": f"http://{host}", "Host": host})
            assert mine.status_code == 201, "the hub's own pages may"


def test_a_token_in_the_address_counts_only_where_the_public_client_sends_it(lone):
    """Addresses end in logs and histories."""
    token = {"token": lone.tokens["eve"]}
    with speak(lone.hub) as client:
        at = f"/api/tasks/{NAME}"
        assert client.post(f"{at}/feed", params=token, json={"type": "post", "content": "x"}).status_code == 401
        assert client.post(f"{at}/submit", params=token, json={"sha": lone.commit("eve", "x")}).status_code == 401
        assert client.get(f"{at}/budget", params=token).status_code == 401
        assert client.post(f"{at}/clone", params=token).status_code == 201


def test_nobody_takes_many_addresses_by_naming_them(lone):
    """Else whoever runs on the hub's machine registers without end: each agent has a budget of its own."""
    with background(make_app(lone.hub)) as url, httpx.Client(base_url=url) as client:
        codes = [
            client.post("/api/register", headers={"X-Forwarded-For": f"10.0.0.{i}"}).status_code for i in range(70)
        ]
        assert codes[0] == 201 and codes[-1] == 429


# ---------------------------------------------------------------- git


def test_a_key_opens_one_fork_of_one_open_task_as_long_as_its_agent_lives(lone):
    def ask(fork, user, password):
        at = f"/git/fork--{fork}.git/info/refs?service=git-receive-pack"
        return client.get(at, auth=(user, password)).status_code

    with speak(lone.hub) as client:
        assert ask(f"{NAME}--eve", "eve", "key of eve") == 200
        for fork, user, password in (
            (f"{NAME}--ann", "eve", "key of eve"),
            (f"{NAME}--ann", "ann", "key of eve"),
            (f"{NAME}--eve", "eve", lone.tokens["ann"]),
            (f"{NAME}--eve", "hub", ""),
            (f"{NAME}--eve", "eve", ""),
            ("other--eve", "eve", "key of eve"),
        ):
            assert ask(fork, user, password) in (401, 403, 404), (fork, user)
        admin = as_user(lone, "admin")
        client.patch(f"/api/tasks/{NAME}", json={"state": "closed"}, headers=admin)
        assert ask(f"{NAME}--eve", "eve", "key of eve") == 403, "nothing is pushed to a closed task"
        client.patch(f"/api/tasks/{NAME}", json={"state": "open"}, headers=admin)
        client.delete("/api/agents/eve", headers=admin)
        assert ask(f"{NAME}--eve", "eve", "key of eve") == 401
        assert ask(f"{NAME}--eve", "eve", lone.tokens["eve"]) == 401


# ---------------------------------------------------------------- races


def test_of_two_workers_that_hand_in_the_same_job_one_is_heard(desk):
    order, agreed = desk.order(), []
    gate = threading.Barrier(4)

    def hand_in(value):
        gate.wait()
        with contextlib.suppress(Refused):
            desk.settle(order, [report(value)])
            agreed.append(value)

    run_all([lambda value=value: hand_in(value) for value in (0.1, 0.2, 0.3, 0.4)])
    assert len(agreed) == 1 and desk.row()["best_value"] == agreed[0]


def test_a_submission_and_the_end_of_its_task_at_once_leave_counts_that_agree(desk):
    shas = [desk.commit("eve", f"race {i}") for i in range(8)]
    admin = desk.user("admin")[1]
    gate = threading.Barrier(9)
    taken = []

    def send(sha):
        gate.wait()
        with contextlib.suppress(Refused):
            desk.submit("eve", sha)
            taken.append(sha)

    def close():
        gate.wait()
        with desk.hub.database.write() as connection:
            change_task(connection, NAME, admin, {"state": "closed"})

    run_all([close, *(lambda sha=sha: send(sha) for sha in shas)])
    with desk.hub.database.read() as connection:
        kept = connection.execute(select(runs.c.sha, runs.c.number).where(runs.c.agent_id == "eve")).all()
    assert sorted(row.sha for row in kept) == sorted(taken)
    assert sorted(row.number for row in kept) == list(range(2, len(kept) + 2)), "no number twice, none left out"
    assert desk.row()["num_runs"] == 1 + len(kept) and len(desk.jobs()) == 1 + len(kept)


def test_of_many_that_challenge_at_once_one_is_compared_at_a_time_with_seeds_of_its_own(desk):
    desk.work(lambda sha, kind: 0.5)
    shas = [desk.enter("eve", f"challenger {i}") for i in range(5)]
    desk.work(lambda sha, kind: 0.6 + shas.index(sha) / 100, most=5)
    orders, gate = [], threading.Barrier(5)

    def lease():
        gate.wait()
        orders.append(desk.order())

    run_all([lease] * 5)
    held = [order for order in orders if order]
    assert len(held) == 1 and held[0]["commit"] == shas[-1], "and it is the one that measured best"


def run_all(works):
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
