"""Server and workers are killed at random while agents submit: what was acknowledged is there, once."""

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter

import httpx
import pytest
from sqlalchemy import func, select

from evolvent.hive.hub.hub import open_hub
from evolvent.hive.hub.identity import add_user
from evolvent.hive.hub.schema import agents, events, jobs, posts, runs, spent, tasks
from evolvent.hive.hub.scores import count_again
from hive.forge import PREDICT, TASK
from hive.hub.desk import NAME, Desk

AGENTS = ("ann", "bob", "cat", "dan")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="artifacts run in a sandbox of Linux")


class Fleet:
    """A server and workers as processes that can be killed and started again."""

    def __init__(self, home, key, port, num_workers):
        self.url, self.home = f"http://127.0.0.1:{port}", home
        serve = ["serve", f"home={home}", "workers=0", "lease_s=3", "max_attempts=50", "--port", str(port)]
        work = ["work", f"hub={self.url}", f"home={home.parent / 'worker'}"]
        self.words = {"server": serve} | {f"worker {i}": [*work, f"name=w{i}"] for i in range(num_workers)}
        self.environment = os.environ | {"EVOLVENT_HIVE_KEY": key, "OMP_NUM_THREADS": "1"}
        self.running, self.num_killed = {}, Counter()

    def start(self, name):
        command = [sys.executable, "-m", "evolvent", "hive", *self.words[name]]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "stdin": subprocess.DEVNULL}
        self.running[name] = subprocess.Popen(command, env=self.environment, start_new_session=True, **quiet)

    def kill(self, name):
        process = self.running.pop(name, None)
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        self.num_killed[name.split()[0]] += 1

    def harass(self, rng, stop, every_s):
        """Kill one of them at a random moment, again and again, and start it again."""
        while not stop.wait(rng.uniform(0.3, 1.7) * every_s):
            name = rng.choice([*self.words, "server"])
            self.kill(name)
            self.start(name)

    def await_server(self, patience_s=60):
        until = time.monotonic() + patience_s
        while time.monotonic() < until:
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(self.url + "/api/health").status_code == 200:
                    return
            time.sleep(0.1)
        raise AssertionError("the server did not come up")


def submit_all(fleet, token, shas, acknowledged):
    """Until each is acknowledged; an answer that never came is asked for again."""
    with httpx.Client(headers={"X-Agent-Token": token}, timeout=20) as client:
        for sha in shas:
            while True:
                try:
                    said = client.post(f"{fleet.url}/api/tasks/{NAME}/submit", json={"sha": sha, "tldr": sha[:6]})
                except httpx.TransportError:
                    time.sleep(0.1)
                    continue
                if said.status_code in (200, 201):
                    acknowledged[sha] = said.json()["run"]["number"]
                    break
                assert said.status_code in (429, 503), said.text
                time.sleep(float(said.headers.get("Retry-After", 0.2)))


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def rounds(tmp_path, url, num, every_s):
    hub = open_hub(tmp_path / "hub", url)
    desk = Desk(hub, tmp_path, *AGENTS, toml=TASK.replace("evaluations = 10", f"evaluations = {num}"))
    rng = random.Random(7)
    shas = {agent: [] for agent in AGENTS}
    for i in range(num):
        labels = [int(rng.random() < 0.5) for _ in range(10)]
        text = f"{PREDICT}predict({labels})\n# {i}\n" if i % 7 else "raise SystemExit(3)\n"
        shas[AGENTS[i % 4]].append(
            desk.commit(AGENTS[i % 4], "", is_noted=i % 2 == 0, files={"solve.py": f"{text}# {i}\n"})
        )
    with hub.database.write() as connection:
        key = add_user(connection, "the fleet's", "worker")
    hub.close()
    fleet = Fleet(tmp_path / "hub", key, free_port(), 2)
    if url:
        fleet.words["server"].append(f"database={url}")
    for name in fleet.words:
        fleet.start(name)
    fleet.await_server()
    stop, acknowledged = threading.Event(), {}
    enemy = threading.Thread(target=fleet.harass, args=(rng, stop, every_s))
    people = [threading.Thread(target=submit_all, args=(fleet, desk.tokens[a], shas[a], acknowledged)) for a in AGENTS]
    enemy.start()
    for one in people:
        one.start()
    for one in people:
        one.join()
    _drain(fleet, key, patience_s=60 + num)
    stop.set()
    enemy.join()
    _drain(fleet, key, patience_s=120)
    for name in list(fleet.running):
        fleet.kill(name)
    return open_hub(tmp_path / "hub", url), acknowledged, fleet


def _drain(fleet, key, patience_s):
    """Until nothing waits to be measured."""
    until = time.monotonic() + patience_s
    while time.monotonic() < until:
        with contextlib.suppress(httpx.TransportError):
            said = httpx.get(f"{fleet.url}/api/work/jobs", headers={"Authorization": f"Bearer {key}"})
            if said.status_code == 200 and not {"waiting", "leased"} & said.json().keys():
                return
        time.sleep(0.2)
    raise AssertionError("jobs were left over")


def check(hub, acknowledged, num):
    with hub.database.read() as connection:
        rows = connection.execute(select(runs)).mappings().all()
        task = connection.execute(select(tasks)).mappings().one()
        assert {row["sha"]: row["number"] for row in rows if row["number"] > 1} == acknowledged, (
            "each, under its number"
        )
        assert len(acknowledged) == num
        assert sorted(row["number"] for row in rows) == list(range(1, num + 2)), "no number twice, none left out"
        assert {row["status"] for row in rows} <= {"success", "failed"}
        ends = connection.execute(select(events.c.data).where(events.c.kind.in_(("scored", "invalid")))).scalars().all()
        assert len(ends) == num + 1, "each was settled once"
        begun = connection.execute(select(func.count()).where(events.c.kind == "run")).scalar_one()
        assert begun == task["num_runs"] == num + 1
        counted = count_again(connection, NAME)
        assert counted == {name: task[name] for name in counted}
        assert connection.execute(select(func.sum(spent.c.evaluations))).scalar_one() == num
        assert connection.execute(select(func.sum(agents.c.num_runs))).scalar_one() == num
        assert connection.execute(select(func.count()).select_from(posts)).scalar_one() == task["num_posts"] == num + 1
        assert set(connection.execute(select(jobs.c.state)).scalars()) == {"done"}
    hub.close()


def test_killed_at_random_nothing_acknowledged_is_lost_and_nothing_counts_twice(tmp_path):
    hub, acknowledged, fleet = rounds(tmp_path, None, 6, 2.0)
    assert sum(fleet.num_killed.values()) >= 2
    check(hub, acknowledged, 6)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_the_same_over_a_thousand_submissions(tmp_path, request, kind):
    url = request.getfixturevalue("postgres_url") if kind == "postgres" else None
    start_s = time.monotonic()
    hub, acknowledged, fleet = rounds(tmp_path, url, 1000, 4.0)
    check(hub, acknowledged, 1000)
    print(f"{kind}: {dict(fleet.num_killed)} killed in {time.monotonic() - start_s:.0f} s")
