import contextlib
import os
import signal
import subprocess
import sys
import threading
import time

import httpx
import pytest
from sqlalchemy import select, update

from evolvent.errors import BadInput, InfrastructureError
from evolvent.hive.hub.app import make_app
from evolvent.hive.hub.hub import Settings, open_hub
from evolvent.hive.hub.identity import add_user, revoke_user
from evolvent.hive.hub.schema import jobs, runs
from evolvent.hive.hub.tasks import open_task
from evolvent.hive.sealed import Bench
from evolvent.hive.task_folder import Shelf
from evolvent.hive.work import Worker, open_worker
from evolvent.serve.door import background
from hive.live import ANSWER, make_slope
from processes import await_end, below, named

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="artifacts run in a sandbox of Linux")
SLOW = f"import time\ntime.sleep({{seconds}})\n{ANSWER}"


class Place:
    """A hub in a folder, on a port that stays its own from one opening to the next."""

    def __init__(self, folder, **settings):
        self.folder, self.settings, self.port = folder, Settings(**settings), 0
        self.hub = open_hub(folder / "hub", settings=self.settings)
        with self.hub.database.write() as connection:
            self.key = add_user(connection, "w", "worker")

    def open_task(self, **more):
        task = make_slope(self.folder / "task", more={f"public/{name}.py": text for name, text in more.items()})
        open_task(self.hub, task)

    @contextlib.contextmanager
    def open(self):
        with background(make_app(self.hub), port=self.port) as url:
            self.port = int(url.rpartition(":")[2])
            yield url

    def close(self):
        self.hub.close()

    def restart(self):
        self.close()
        self.hub = open_hub(self.folder / "hub", settings=self.settings)

    def worker(self, url, name="worker"):
        return open_worker(url, self.key, self.folder / "worker", name)

    def run(self):
        with self.hub.database.read() as connection:
            return dict(connection.execute(select(runs)).mappings().one())

    def job(self):
        with self.hub.database.read() as connection:
            return dict(connection.execute(select(jobs)).mappings().one())

    def await_lease(self, patience_s=30):
        self._await(lambda: self.job()["state"] == "leased", patience_s)

    def await_score(self, patience_s=30):
        self._await(lambda: self.run()["status"] == "success", patience_s)

    def _await(self, is_there, patience_s):
        until = time.monotonic() + patience_s
        while not is_there():
            assert time.monotonic() < until, f"nothing came: {self.job()}"
            time.sleep(0.02)


@pytest.fixture
def place(tmp_path):
    made = Place(tmp_path, lease_s=1.5)
    yield made
    made.close()


def test_a_worker_measures_what_waits_and_hands_it_in(place):
    place.open_task()
    told = []
    with place.open() as url:
        worker = place.worker(url)
        worker.tell = told.append
        assert worker.run(until_idle=True) == 1
        worker.close()
    assert place.run()["status"] == "success" and place.run()["value"] == -8.0
    assert [(one.task, one.kind, one.said) for one in told] == [("slope", "measure", "-8")]


def test_a_heartbeat_keeps_a_measurement_that_takes_longer_than_its_lease(place):
    place.open_task(answer=SLOW.format(seconds=2.4))
    with place.open() as url:
        first, second = place.worker(url, "first"), place.worker(url, "second")
        working = threading.Thread(target=first.run, kwargs={"max_jobs": 1})
        working.start()
        place.await_lease()
        assert second.run(until_idle=True) == 0, "a job that is being worked on was leased again"
        working.join(30)
    assert place.job()["attempt"] == 1 and place.run()["value"] == -8.0


def test_a_result_is_handed_in_after_the_hub_was_away_and_came_back(place):
    place.open_task(answer=SLOW.format(seconds=1.0))
    with place.open() as url:
        worker = place.worker(url)
        working = threading.Thread(target=worker.run, kwargs={"max_jobs": 1})
        working.start()
        place.await_lease()
    place.restart()
    time.sleep(1.2)  # the worker is done by now, and finds nobody
    with place.open():
        place.await_score()
        working.join(30)
    assert place.job()["attempt"] == 1, "the result was thrown away"


def test_a_worker_waits_for_a_hub_that_is_not_there_yet(place):
    place.open_task()
    with place.open() as url:
        pass
    worker = place.worker(url)
    working = threading.Thread(target=worker.run, kwargs={"max_jobs": 1})
    working.start()
    time.sleep(0.3)
    with place.open():
        working.join(30)
        assert not working.is_alive()
    assert place.run()["value"] == -8.0


@pytest.mark.parametrize("role", ["nobody", "user", "revoked"])
def test_a_key_that_does_not_fit_ends_a_worker_at_once_and_says_the_cure(place, role):
    place.open_task()
    key = "hive_wrong"
    with place.hub.database.write() as connection:
        if role != "nobody":
            key = add_user(connection, "olga", "worker" if role == "revoked" else "user")
        if role == "revoked":
            revoke_user(connection, "olga")
    with place.open() as url, pytest.raises(BadInput) as refused:
        open_worker(url, key, place.folder / "worker").run()
    assert "worker" in refused.value.cure and key not in str(refused.value)
    assert place.job()["attempt"] == 0


def test_a_key_that_is_revoked_at_work_ends_the_worker(place):
    place.open_task(answer=SLOW.format(seconds=0.5))
    troubles = []

    def work(worker):
        try:
            worker.run()
        except BadInput as error:
            troubles.append(error)

    with place.open() as url:
        working = threading.Thread(target=work, args=(place.worker(url),))
        working.start()
        place.await_lease()
        with place.hub.database.write() as connection:
            revoke_user(connection, "w")
        working.join(30)
    assert len(troubles) == 1 and place.run()["value"] is None, "a result was taken without a key"


def test_a_scorer_that_breaks_is_not_tried_again_and_the_run_says_so(place):
    task = make_slope(place.folder / "task", more={"sealed/score.py": "def pose(seed, data):\n    return 1 / 0\n"})
    open_task(place.hub, task)
    with place.open() as url:
        assert place.worker(url).run(until_idle=True) == 1
    assert place.job()["state"] == "dead" and place.job()["attempt"] == 1
    assert place.run()["status"] == "error" and "scorer broke" in place.run()["why"]


def test_a_machine_that_breaks_gives_the_job_back_for_another_attempt(place):
    place.open_task()
    (place.folder / "worker").write_text("a file where the worker's folder should be")
    with place.open() as url:
        assert place.worker(url).run(until_idle=True) == 1
    assert place.job()["state"] == "waiting" and place.run()["status"] != "error"
    (place.folder / "worker").unlink()
    with place.hub.database.write() as connection:
        connection.execute(update(jobs).values(not_before=""))
    with place.open() as url:
        place.worker(url).run(until_idle=True)
    assert place.run()["value"] == -8.0


def test_a_worker_without_a_sandbox_takes_no_job(place, monkeypatch):
    from evolvent.envs.sandbox import choose

    place.open_task()
    monkeypatch.setattr(choose, "_probed", dict.fromkeys(choose.TIERS, "not on this machine"))
    with place.open() as url, pytest.raises(InfrastructureError) as refused:
        place.worker(url).run(until_idle=True)
    assert refused.value.cure and place.job()["attempt"] == 0, "it took a job that it cannot do"


def test_a_task_is_fetched_once_and_a_broken_one_is_not_believed(place):
    place.open_task()
    asked, damage = [], [False]

    class Wire(httpx.HTTPTransport):
        def handle_request(self, request):
            answer = super().handle_request(request)
            if "/work/tasks/" not in str(request.url):
                return answer
            asked.append(str(request.url))
            body = answer.read()
            if damage[0]:
                body = body.replace(b"Find a and b.", b"Find a or b!!")
            return httpx.Response(answer.status_code, content=body)

    with place.open() as url:
        worker = Worker(url, place.key, Bench(Shelf(place.folder / "worker")), transport=Wire())
        damage[0] = True
        assert worker.run(until_idle=True) == 1
        assert "came broken" in place.job()["error"] and place.job()["state"] == "waiting"
        assert not list((place.folder / "worker").glob("*")), "a broken task was kept"
        damage[0] = False
        for _ in range(2):
            with place.hub.database.write() as connection:
                connection.execute(update(jobs).values(state="waiting", not_before=""))
            assert worker.run(until_idle=True) == 1
    assert len(asked) == 2 and place.run()["value"] == -8.0


def test_an_address_that_is_no_hub_ends_a_worker_and_says_so(tmp_path):
    async def stranger(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"<html>hello"})

    with background(stranger) as url, pytest.raises(InfrastructureError) as refused:
        open_worker(url, "hive_x", tmp_path).run()
    assert "no hub" in refused.value.what and refused.value.cure


@contextlib.contextmanager
def command(place, url, *words):
    """A worker as a process of its own."""
    line = [sys.executable, "-m", "evolvent", "hive", "work", f"hub={url}", f"home={place.folder / 'worker'}", *words]
    environment = os.environ | {"EVOLVENT_HIVE_KEY": place.key}
    process = subprocess.Popen(
        line, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def test_a_signal_ends_a_worker_after_the_measurement_at_hand(place):
    place.open_task(answer=SLOW.format(seconds=1.0))
    with place.open() as url, command(place, url) as process:
        place.await_lease()
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=30)
    assert process.returncode == 0 and "1 measured" in said, said
    assert place.run()["value"] == -8.0


@pytest.mark.parametrize("signals", [(signal.SIGTERM, signal.SIGTERM), (signal.SIGKILL,)])
def test_a_worker_that_is_killed_leaves_no_process_behind_and_its_job_is_done_by_another(place, signals):
    place.open_task(answer=SLOW.format(seconds=1.5))
    with place.open() as url:
        with command(place, url) as process:
            place.await_lease()
            time.sleep(0.7)  # the artifact sleeps
            started = below(process.pid)
            for one in signals:
                process.send_signal(one)
                time.sleep(0.1)
            process.wait(timeout=2)
            left = await_end(started)
        assert started and not left, f"orphans: {left}"
        assert place.worker(url).run(max_jobs=1) == 1
    assert place.job()["attempt"] == 2 and place.run()["value"] == -8.0


@pytest.mark.slow
def test_actors_of_ray_measure_and_one_that_is_killed_loses_nothing(place):
    ray = pytest.importorskip("ray")
    from evolvent.hive.work_on_ray import work_on_ray

    place.open_task(answer=SLOW.format(seconds=3))
    done = []
    with place.open() as url:
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
        try:
            working = threading.Thread(target=lambda: done.append(work_on_ray(ray, url, place.key, 1, 1)), daemon=True)
            working.start()
            place.await_lease(patience_s=60)
            actors = named("ray::_Actor")
            assert len(actors) == 1
            os.kill(actors[0], signal.SIGKILL)
            place.await_score(patience_s=90)
            working.join(30)
        finally:
            ray.shutdown()
    assert done == [1] and place.job()["attempt"] == 2
