"""A hub with the task of tests/hive/forge.py, agents with forks, and measurements that are handed in by hand."""

from pathlib import Path

from sqlalchemy import select, update

from evolvent.hive.hub.gate import give_key, note_push
from evolvent.hive.hub.identity import add_user, find_user, register
from evolvent.hive.hub.jobs import take_lease
from evolvent.hive.hub.orders import next_order
from evolvent.hive.hub.runs import Submission, submit
from evolvent.hive.hub.schema import jobs, runs, tasks
from evolvent.hive.hub.scores import settle
from evolvent.hive.hub.tasks import open_task
from hive.forge import HONEST, TASK, commit_files, make_task

NAME = "labels"


class Desk:
    """What a test does to a hub; `agents` have forks of their own."""

    def __init__(self, hub, folder, *agents, toml=TASK, more=None):
        self.hub, self.folder = hub, Path(folder)
        self.task = make_task(self.folder / "task", toml, more)
        open_task(hub, self.task)
        self.tokens, self.num_users = {}, 0
        for agent in agents or ("ann", "bob"):
            self.join(agent)

    def join(self, agent):
        base = self.hub.repositories.fork(NAME, agent)
        with self.hub.database.write() as connection:
            self.tokens[agent] = register(connection, agent)[1]
            give_key(connection, NAME, agent, f"key of {agent}", base)

    def user(self, role):
        with self.hub.database.write() as connection:
            self.num_users += 1
            key = add_user(connection, f"a {role}" + f" {self.num_users}" * (self.num_users > 1), role)
            return key, find_user(connection, key)

    def commit(self, agent, text, *, is_noted=True, files=None):
        """A commit in an agent's fork, as after a push."""
        fork = self.hub.repositories.path(f"fork--{NAME}--{agent}")
        sha = commit_files(fork, {"solve.py": f"{HONEST}# {text}\n", **(files or {})})
        if is_noted:
            self.note(agent, sha)
        return sha

    def note(self, agent, *shas):
        with self.hub.database.write() as connection:
            note_push(connection, NAME, agent, {}, shas)

    def submit(self, agent, sha, **said):
        with self.hub.database.write() as connection:
            row, _ = submit(self.hub, connection, NAME, agent, Submission(sha, **said))
        return dict(row)

    def enter(self, agent, text, **said):
        """A commit that is submitted."""
        sha = self.commit(agent, text)
        self.submit(agent, sha, **said)
        return sha

    def lease(self, lease_s=60.0):
        with self.hub.database.write() as connection:
            return take_lease(connection, "a worker", lease_s)

    def order(self):
        with self.hub.database.write() as connection:
            return next_order(self.hub, connection, "a worker")

    def work(self, value_of, most=100):
        """Settle what waits: `value_of(sha, kind)` is a number for all seeds, a list of them, or why it is invalid."""
        done = []
        while len(done) < most and (order := self.order()) is not None:
            done.append((order["kind"], order["commit"]))
            artifacts = [order["commit"]] + ([order["incumbent"]["commit"]] if order["incumbent"] else [])
            num = len(order["seeds"] or (1,))
            reports = [report(value_of(sha, order["kind"]), num) for sha in artifacts]
            self.settle(order, reports)
        return done

    def settle(self, order, reports):
        from evolvent.hive.hub.jobs import take_back

        with self.hub.database.write() as connection:
            settle(self.hub, connection, take_back(connection, order["id"], order["lease"]), reports)

    def run(self, sha):
        with self.hub.database.read() as connection:
            return dict(connection.execute(select(runs).where(runs.c.sha == sha)).mappings().one())

    def row(self):
        with self.hub.database.read() as connection:
            return dict(connection.execute(select(tasks).where(tasks.c.id == NAME)).mappings().one())

    def hasten(self):
        """Let nothing wait for its next attempt."""
        with self.hub.database.write() as connection:
            connection.execute(update(jobs).values(not_before=""))

    def jobs(self):
        with self.hub.database.read() as connection:
            return [dict(row) for row in connection.execute(select(jobs).order_by(jobs.c.id)).mappings()]


def report(value, num=1):
    """What a worker says: a number for each seed, or why there is none."""
    if isinstance(value, str):
        return {"outcome": "invalid", "why": value, "seconds": 0.5}
    numbers = value if isinstance(value, list) else [value] * num
    return {"outcome": "scored", "by_seed": [[one] for one in numbers], "seconds": 0.5, "log": "a line"}
