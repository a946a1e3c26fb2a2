"""A hub on a port of its own with a worker beside it, and tasks of a few parameters to search."""

import base64
import contextlib
import json
import threading

from evolvent.hive.hub.app import make_app
from evolvent.hive.hub.hub import Settings, open_hub
from evolvent.hive.hub.jobs import take_back
from evolvent.hive.hub.orders import next_order
from evolvent.hive.hub.reports import tell_report
from evolvent.hive.hub.scores import settle
from evolvent.hive.hub.tasks import open_task
from evolvent.hive.noise import KeepRule
from evolvent.hive.sealed import Bench
from evolvent.hive.task_folder import read_task
from evolvent.serve.door import background

TOML = """
name = "{name}"
metric = "worth"
direction = "{direction}"
mutable = ["params.json", "more"]
command = ["python3", "answer.py"]
predictions = "answer.json"
seeds = [5]
holdout_seeds = [6]

[budget]
evaluations = {evaluations}
seconds = 20
"""
ANSWER = 'open("answer.json", "w").write(open("params.json").read())\n'
SCORE = """
from scoring import Invalid, read_json

def pose(seed, data):
    return {{"seed.json": str(seed % 7).encode()}}

def score(seed, data, predictions):
    said = read_json(predictions)
    if type(said) is not dict or set(said) != {{"a", "b"}}:
        raise Invalid("a and b are wanted")
    return float({sign} * (abs(said["a"] - 7) + (not said["b"])))
"""
SPACE = {"file": "params.json", "params": {"a": {"kind": "int", "low": 0, "high": 9}, "b": {"kind": "bool"}}}
START = {"a": 0, "b": False}


def make_slope(folder, name="slope", direction="maximize", evaluations=50, more=None):
    """Best is a = 7 with b: 0; the baseline has 8 less, or more where less is better."""
    files = {
        "task.toml": TOML.format(name=name, direction=direction, evaluations=evaluations),
        "public/program.md": "Find a and b.",
        "public/answer.py": ANSWER,
        "public/params.json": json.dumps(START),
        "public/space.json": json.dumps(SPACE),
        "public/eval/eval.sh": "echo",
        "sealed/score.py": SCORE.format(sign=-1 if direction == "maximize" else 1),
        **(more or {}),
    }
    for path, text in files.items():
        if text is not None:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text, "utf-8")
    return read_task(folder)


def work_off(hub, bench):
    """Measure all that waits; how many jobs that were."""
    num = 0
    while True:
        with hub.database.write() as connection:
            order = next_order(hub, connection, "test")
        if order is None:
            return num
        sides = [order["files"], *([order["incumbent"]["files"]] if order["incumbent"] else [])]
        results = [
            bench.measure_files(
                order["digest"], {path: base64.b64decode(data) for path, data in files.items()}, seeds=order["seeds"]
            )
            for files in sides
        ]
        with hub.database.write() as connection:
            settle(hub, connection, take_back(connection, order["id"], order["lease"]), list(map(tell_report, results)))
        num += 1


@contextlib.contextmanager
def live_hub(folder, *tasks, with_worker=True, **settings):
    """A hub that serves these tasks, and its URL."""
    hub = open_hub(folder / "hub", settings=Settings(rule=KeepRule(alpha=0.5, num_spare=0), **settings))
    bench, is_over = Bench(hub.shelf), threading.Event()
    for task in tasks:
        open_task(hub, task)

    def work():
        while not is_over.is_set():
            work_off(hub, bench)
            is_over.wait(0.01)

    worker = threading.Thread(target=work, daemon=True)
    with background(make_app(hub)) as url:
        if with_worker:
            worker.start()
        yield hub, url
        is_over.set()
        if with_worker:
            worker.join(timeout=30)
    hub.close()
