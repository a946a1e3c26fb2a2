"""A hub with its pages, and agents whose commits are real and whose numbers the test chooses."""

import json
from random import Random

from fastapi.testclient import TestClient

from evolvent.dashboard import mount_pages
from evolvent.hive.hub.app import make_app
from evolvent.hive.hub.hub import Settings, open_hub
from evolvent.hive.hub.identity import register
from evolvent.hive.hub.jobs import take_back
from evolvent.hive.hub.orders import next_order
from evolvent.hive.hub.repositories import name_fork
from evolvent.hive.hub.runs import Submission, submit
from evolvent.hive.hub.scores import settle
from evolvent.hive.hub.tasks import Opening, open_task
from evolvent.hive.task_folder import read_task
from hive.forge import SCORE, commit_files

TOML = """
name = "{name}"
metric = "fill"
direction = "{direction}"
mutable = ["solve.py", "lib"]
command = ["python3", "solve.py"]
seeds = [5, 6, 7]
holdout_seeds = [8]
description = "Pack items into few bins."

[budget]
evaluations = 1000
seconds = 20
"""
PROGRAM = """# Packing

Change `solve.py` so that it packs items into **fewer** bins.

* the metric is `fill`: 1.0 is the optimum
* [rules](https://example.org/rules)

## Loop

1. read what others found
2. have one idea
"""
BASELINE = "def solve(items):\n    return sorted(items)\n\n\nprint(solve([3, 1, 2]))\n"


class Stand:
    """The hub, a client of its app, and the numbers that a worker will find by commit."""

    def __init__(self, folder, name="packing", direction="maximize", baseline=0.80, database=None):
        self.hub = open_hub(folder / "hub", database, settings=Settings())
        self.numbers, self.tokens, self.name = {}, {}, name
        self.task = make_task(folder / "task", name, direction)
        told = open_task(self.hub, self.task, Opening(name="Packing of bins"))
        self.base = told["base_sha"]
        self.numbers[self.base] = baseline
        self.app = make_app(self.hub)
        mount_pages(self.app, self.hub)
        self.client = TestClient(self.app, raise_server_exceptions=True)
        self.why, self.log = "predictions.json is missing", "Traceback: KeyError 'x'\n"

    def agent(self, name):
        """Register an agent with a fork of its own, unless it is there."""
        if name not in self.tokens:
            with self.hub.database.write() as connection:
                self.tokens[name] = register(connection, name)[1]
            self.hub.repositories.fork(self.name, name)
        return name

    def submit(self, agent, files, number=None, **said):
        """A commit of files as a run; `number` is what will be measured, None for an invalid artifact."""
        self.agent(agent)
        repository = self.hub.repositories.path(name_fork(self.name, agent))
        sha = commit_files(repository, {"solve.py": BASELINE, **files}, [self.base])
        self.numbers[sha] = number
        with self.hub.database.write() as connection:
            submit(self.hub, connection, self.name, agent, Submission(sha=sha, **said))
        return sha

    def measure(self, most=10_000):
        """Let a worker report on everything that waits."""
        for _ in range(most):
            with self.hub.database.write() as connection:
                order = next_order(self.hub, connection, "worker")
                if order is None:
                    return
                job = take_back(connection, order["id"], order["lease"])
                seeds = order["seeds"] or [1, 2, 3]
                reports = [self.report(order["commit"], seeds)]
                if order["incumbent"]:
                    reports.append(self.report(order["incumbent"]["commit"], seeds))
                settle(self.hub, connection, job, reports)

    def report(self, sha, seeds):
        number = self.numbers[sha]
        if number is None:
            return {"outcome": "invalid", "why": self.why, "log": self.log}
        by_seed = [[number + Random(f"{sha}{seed}{i}").gauss(0, 0.004) for i in range(4)] for seed in seeds]
        return {"outcome": "scored", "by_seed": by_seed, "log": "packed 120 instances\nmean fill 0.9\n", "seconds": 1.3}

    def get(self, path, **more):
        return self.client.get(path, **more)

    def page(self, path):
        return self.get(path).text

    def act(self, deed, agent, *words, **more):
        """What an agent does by one of the hub's functions, such as `add_post`."""
        name = self.agent(agent)
        with self.hub.database.write() as connection:
            return deed(connection, self.name, name, *words, **more)

    def close(self):
        self.client.close()
        self.hub.close()


def make_task(folder, name, direction):
    files = {
        "task.toml": TOML.format(name=name, direction=direction),
        "public/program.md": PROGRAM,
        "public/solve.py": BASELINE,
        "sealed/score.py": SCORE,
        "sealed/labels.json": json.dumps({"labels": [1] * 10}),
    }
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, "utf-8")
    return read_task(folder)
