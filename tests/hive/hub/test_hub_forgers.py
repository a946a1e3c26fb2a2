"""Attacks on official numbers over HTTP and git: whatever an agent sends, they are what the hub measured."""

import base64
import io
import itertools
import json
import shutil
import subprocess
import tarfile

import httpx
import pytest
from sqlalchemy import select

from evolvent.hive.hub.app import make_app
from evolvent.hive.hub.limits import Limits, Rate
from evolvent.hive.hub.refs import write_ref
from evolvent.hive.hub.repositories import Spot
from evolvent.hive.hub.schema import runs, tasks
from evolvent.hive.hub.tasks import open_task
from evolvent.serve.door import background
from hive.forge import TASK, make_task
from hive.hub.desk import NAME, Desk, report

_numbers = itertools.count()
HUGE = {"score": 1e300, "tldr": "verified: 1.0", "message": "---\naccuracy: 1.0\n"}


class Forger:
    """Somebody with an agent of its own, who wants the first place."""

    def __init__(self, desk, url):
        self.desk, self.url = desk, url
        self.http = httpx.Client(base_url=url, timeout=30)
        self.mine = {"X-Agent-Token": desk.tokens["eve"]}

    def post(self, path, body=None, headers=None, **more):
        return self.http.post(path, json=body, headers=self.mine if headers is None else headers, **more)

    def submit(self, body, headers=None, task=NAME):
        return self.post(f"/api/tasks/{task}/submit", body, headers)

    def commit(self):
        return self.desk.commit("eve", f"forged {next(_numbers)}")

    def order_of(self, sha):
        """The measurement of a run, once those before it are handed in."""
        while (order := self.desk.order())["commit"] != sha:
            self.desk.settle(order, [report("crashed")])
        return order

    def official(self):
        """Every official number and the best, as the board shows them and as the tables have them."""
        with self.desk.hub.database.read() as connection:
            rows = connection.execute(select(runs.c.sha, runs.c.value, runs.c.is_valid, runs.c.is_kept)).all()
            best = connection.execute(select(tasks.c.best_sha, tasks.c.best_value).where(tasks.c.id == NAME)).one()
        board = self.http.get(f"/api/tasks/{NAME}/leaderboard").json()["rows"]
        shown = [(row["rank"], row["id"], row["verified_score"]) for row in board]
        return {tuple(row) for row in rows if row.value is not None}, tuple(best), shown


def best_of(it):
    return it.desk.row()["best_sha"]


def claim_the_highest(it):
    assert it.submit({"sha": it.commit(), **HUGE}).status_code == 201


def send_official_fields(it):
    extra = {"verified": True, "verified_score": 1.0, "value": 1.0, "status": "success", "is_kept": True, "number": 1}
    said = it.submit({"sha": it.commit(), **extra}).json()["run"]
    assert said["verified_score"] is None and said["verification_status"] == "pending" and said["number"] > 1


def claim_no_number(it):
    sha = it.commit()
    for word in ("NaN", "Infinity", "-Infinity", "1e999"):
        text = f'{{"sha": "{sha}", "score": {word}}}'
        said = it.http.post(
            f"/api/tasks/{NAME}/submit", content=text, headers={**it.mine, "Content-Type": "application/json"}
        )
        assert 400 <= said.status_code < 500, f"{word}: {said.text}"


def submit_an_unknown_commit(it):
    for sha in ("1" * 40, "HEAD", "refs/heads/main", "../../x"):
        assert 400 <= it.submit({"sha": sha}).status_code < 500


def submit_anothers_commit(it):
    sha = it.desk.commit("ann", "the best of ann, not yet submitted")
    assert it.submit({"sha": sha}).status_code in (400, 409)


def submit_anothers_commit_from_the_own_fork(it):
    sha = it.desk.commit("ann", "ann's secret")
    it.desk.commit("eve", "ann's secret")
    assert it.submit({"sha": sha}).status_code == 409


def submit_the_run_of_another(it):
    assert it.submit({"sha": best_of(it), **HUGE}).status_code == 409


def submit_the_same_again_with_another_claim(it):
    sha = it.commit()
    it.submit({"sha": sha, "score": 0.1})
    assert it.submit({"sha": sha, "score": 0.99}).json()["run"]["score"] == 0.1


def build_on_a_run_of_another_task(it):
    with it.desk.hub.database.read() as connection:
        foreign = connection.execute(select(runs.c.sha).where(runs.c.task_id == "other")).scalars().first()
    assert it.submit({"sha": it.commit(), "parent_id": foreign}).status_code == 400


def submit_to_a_task_without_a_fork(it):
    assert 400 <= it.submit({"sha": it.commit()}, task="other").status_code < 500


def speak_with_a_name_as_token(it):
    for name in ("ann", "hub", "eve", ""):
        assert it.submit({"sha": it.commit()}, {"X-Agent-Token": name}).status_code == 401


def guess_tokens(it):
    codes = {it.submit({"sha": "1" * 40}, {"X-Agent-Token": f"ha_{i:043d}"}).status_code for i in range(40)}
    assert codes == {401, 429}
    it.desk.hub.limits._buckets.clear()


def call_off_a_rival(it):
    path = f"/api/tasks/{NAME}/runs/{best_of(it)}"
    for headers in (
        it.mine,
        {"X-Admin-Key": "admin"},
        {"X-Admin-Key": it.mine["X-Agent-Token"]},
        {"Authorization": "Bearer x"},
    ):
        assert it.http.patch(path, json={"valid": False}, headers=headers).status_code == 401
        assert it.http.delete(path, headers=headers).status_code == 401


def pose_as_a_worker(it):
    token = it.mine["X-Agent-Token"]
    for headers in (it.mine, {"Authorization": f"Bearer {token}"}, {"Authorization": "Bearer hive_guess"}):
        assert it.post("/api/work/lease", {}, headers).status_code == 401
        assert it.http.get(f"/api/work/tasks/{it.desk.task.digest}", headers=headers).status_code == 401


def pose_as_a_worker_with_the_key_of_a_user(it):
    key, _ = it.desk.user("user")
    assert it.post("/api/work/lease", {}, {"Authorization": f"Bearer {key}"}).status_code == 403


def replay_the_result_of_a_job(it):
    sha = it.commit()
    it.submit({"sha": sha})
    order = it.order_of(sha)
    it.desk.settle(order, [report("late")])
    key, _ = it.desk.user("worker")
    body = {"lease": order["lease"], "reports": [report(1.0)]}
    assert it.post(f"/api/work/{order['id']}/finish", body, {"Authorization": f"Bearer {key}"}).status_code == 409


def hand_in_with_a_guessed_lease(it):
    sha = it.commit()
    it.submit({"sha": sha})
    order = it.order_of(sha)
    body = {"lease": "x" * 32, "reports": [report(1.0)]}
    key = it.desk.worker
    assert it.post(f"/api/work/{order['id']}/finish", body, {"Authorization": f"Bearer {key}"}).status_code == 409
    it.desk.settle(order, [report("crashed")])


def flood_with_votes(it):
    codes = [it.post(f"/api/tasks/{NAME}/feed/1/vote", {"type": "up"}).status_code for _ in range(10)]
    assert it.http.get(f"/api/tasks/{NAME}/feed/1").json()["upvotes"] <= 1 and codes[-1] in (200, 429)


def flood_with_agents(it):
    codes = [it.post("/api/register/batch", {"count": 50}, {}).status_code for _ in range(4)]
    assert 429 in codes
    it.desk.hub.limits._buckets.clear()


def push_to_the_fork_of_another(it):
    it.push("fork--labels--ann", "eve", "key of eve")
    it.push("task--labels", "eve", "key of eve")


def push_over_the_runs_of_the_hub(it):
    it.push("fork--labels--eve", "eve", "key of eve", f"HEAD:refs/runs/{best_of(it)}")
    it.push("fork--labels--eve", "eve", "key of eve", "HEAD:refs/replace/" + best_of(it))


def move_a_branch_after_the_run_was_submitted(it):
    sha = it.commit()
    it.submit({"sha": sha})
    fork = it.desk.hub.repositories.path("fork--labels--eve")
    text = it.desk.hub.repositories.take(Spot("fork--labels--eve", sha), it.desk.task).files["solve.py"]
    write_ref(fork, "refs/heads/main", it.commit())
    order = it.order_of(sha)
    assert base64.b64decode(order["files"]["solve.py"]) == text, "a run is a commit, wherever its branch goes"
    it.desk.settle(order, [report("crashed")])


def write_sql_into_words(it):
    for words in ("' OR 1=1 --", "%", "score; DROP TABLE runs", "x' UNION SELECT token_hash FROM agents --"):
        for path in (f"/api/tasks/{NAME}/runs", f"/api/tasks/{NAME}/search", "/api/tasks"):
            said = it.http.get(path, params={"sort": words, "agent": words, "q": words, "view": words})
            assert said.status_code < 500 and "token_hash" not in said.text.replace(words, "")
    it.submit({"sha": it.commit(), "tldr": "'); UPDATE runs SET value = 1; --", "message": '"; DROP TABLE runs'})


def open_a_task_of_ones_own_over_another(it):
    key, _ = it.desk.user("owner")
    files = {
        "task.toml": TASK,
        "public/program.md": "x",
        "public/solve.py": "x",
        "sealed/score.py": "def score(*a): return 1.0",
    }
    said = it.send_archive(files, key)
    assert said.status_code == 409, said.text
    assert it.send_archive(files, "hive_guess").status_code == 401


def send_an_archive_with_ways_out(it):
    key, _ = it.desk.user("owner")
    for path in ("../sealed/score.py", "/etc/cron.d/x", "public/.git/hooks/post-receive", "public/a\\b", "task.toml/x"):
        assert it.send_archive({"task.toml": TASK, path: "x"}, key).status_code == 400, path
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE):
        assert it.send_archive({"task.toml": TASK}, key, odd=kind).status_code == 400


def speak_as_the_hub_itself(it):
    assert it.post("/api/register", {"preferred_name": "hub"}, {}).status_code == 409
    assert it.push("task--labels", "hub", "hub") is None


def send_more_than_anybody_reads(it):
    body = b'{"sha": "' + b"1" * (2 << 20) + b'"}'
    said = it.http.post(
        f"/api/tasks/{NAME}/submit", content=body, headers={**it.mine, "Content-Type": "application/json"}
    )
    assert said.status_code == 413


def go_beyond_the_budget(it):
    codes = [it.submit({"sha": it.commit()}).status_code for _ in range(40)]
    assert codes[-1] in (403, 429) and it.desk.row()["num_runs"] < 60


ATTACKS = [
    claim_the_highest, send_official_fields, claim_no_number, submit_an_unknown_commit, submit_anothers_commit,
    submit_anothers_commit_from_the_own_fork, submit_the_run_of_another, submit_the_same_again_with_another_claim,
    build_on_a_run_of_another_task, submit_to_a_task_without_a_fork, speak_with_a_name_as_token, guess_tokens,
    call_off_a_rival, pose_as_a_worker, pose_as_a_worker_with_the_key_of_a_user, replay_the_result_of_a_job,
    hand_in_with_a_guessed_lease, flood_with_votes, flood_with_agents, push_to_the_fork_of_another,
    push_over_the_runs_of_the_hub, move_a_branch_after_the_run_was_submitted, write_sql_into_words,
    open_a_task_of_ones_own_over_another, send_an_archive_with_ways_out, speak_as_the_hub_itself,
    send_more_than_anybody_reads, go_beyond_the_budget,
]  # fmt: skip


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    from evolvent.hive.hub.hub import open_hub

    folder = tmp_path_factory.mktemp("forgers")
    hub = open_hub(folder / "hub")
    toml = TASK.replace("evaluations = 10", "evaluations = 30")
    desk = Desk(hub, folder, "ann", "eve", toml=toml)
    open_task(hub, make_task(folder / "other", TASK.replace('"labels"', '"other"')))
    sha = desk.enter("ann", "honest")
    desk.work(lambda one, _: 0.8 if one == sha else 0.5)
    desk.worker, _ = desk.user("worker")
    hub.limits = Limits(rates=Limits().rates | {"submit": Rate(500, 500)})
    with background(make_app(hub)) as url:
        yield desk, url
    hub.close()


class Git(Forger):
    """The same with git and archives at hand."""

    def push(self, name, user, password, refspec="HEAD:main"):
        if shutil.which("git") is None:
            pytest.skip("git is not installed")
        tree = self.desk.folder / f"tree-{next(_numbers)}-{name}"
        at = self.url.replace("http://", f"http://{user}:{password.replace(' ', '%20')}@") + f"/git/{name}.git"
        subprocess.run(["git", "clone", "-q", self.url + f"/git/{name}.git", tree], check=True, capture_output=True)
        (tree / "solve.py").write_text("print(1)")
        who = ["-c", "user.name=e", "-c", "user.email=e@x"]
        subprocess.run(["git", "-C", tree, *who, "commit", "-qam", "mine now"], check=True, capture_output=True)
        done = subprocess.run(
            ["git", "-C", tree, "push", "-f", at, refspec], capture_output=True, text=True, check=False
        )
        assert done.returncode != 0, f"{name} took {refspec}: {done.stderr}"

    def send_archive(self, files, key, odd=None):
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as archive:
            for path, text in files.items():
                member = tarfile.TarInfo(path)
                member.size = len(text)
                archive.addfile(member, io.BytesIO(text.encode()))
            if odd is not None:
                member = tarfile.TarInfo("public/odd")
                member.type, member.linkname = odd, "/etc/passwd"
                archive.addfile(member)
        sent = {"archive": ("task.tar.gz", packed.getvalue(), "application/gzip")}
        return self.http.post("/api/tasks", files=sent, headers={"Authorization": f"Bearer {key}"})


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_no_official_number_changes_when_they(stage, attack):
    forger = Git(*stage)
    before = forger.official()
    attack(forger)
    after = forger.official()
    assert after == before, json.dumps([sorted(map(str, before[0] ^ after[0])), before[1:], after[1:]], default=str)


def test_there_are_at_least_twenty_attacks_on_each_side():
    from hive.forgeries import HONEST_AT_BEST, INVALID

    assert len(ATTACKS) >= 20 and len(INVALID) + len(HONEST_AT_BEST) >= 20
