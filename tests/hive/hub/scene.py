import json
from contextlib import contextmanager

from sqlalchemy import event, insert, update

from evolvent.hive.hub.identity import register
from evolvent.hive.hub.schema import runs, tasks
from evolvent.hive.hub.times import now


class Scene:
    """A hub with a task and agents on it, and somebody who speaks for each of them."""

    def __init__(self, client, *agents, task="golf", direction="minimize"):
        self.client, self.hub, self.task = client, client.app.state.hub, task
        self.tokens, self.num_runs = {}, 0
        self.open(task, direction)
        for agent in agents or ("ann", "bob"):
            with self.hub.database.write() as connection:
                self.tokens[agent] = register(connection, agent)[1]

    def open(self, task, direction="minimize"):
        row = {"id": task, "name": task.title(), "description": "", "program": "", "config": "{}", "digest": "0" * 64}
        row |= {"base_sha": "0" * 40, "direction": direction, "created_at": now(), "last_activity": now()}
        with self.hub.database.write() as connection:
            connection.execute(insert(tasks).values(row))

    def close(self):
        with self.hub.database.write() as connection:
            connection.execute(update(tasks).where(tasks.c.id == self.task).values(state="closed"))

    def run(self, agent, value=None, *, parent=None, tldr="tried", sha=None, task=None, **more):
        """A run as it stands once it was measured."""
        self.num_runs += 1
        sha = sha or f"{self.num_runs:x}".rjust(40, "a")
        row = {"task_id": task or self.task, "sha": sha, "number": self.num_runs, "agent_id": agent, "branch": "b"}
        row |= {"parent_sha": parent, "tldr": tldr, "message": "", "task_digest": "0" * 64, "value": value}
        row |= {"status": "pending" if value is None else "success", "created_at": now()} | more
        with self.hub.database.write() as connection:
            connection.execute(insert(runs).values(row))
        return sha

    def ask(self, method, path, agent=None, **more):
        headers = {"X-Agent-Token": self.tokens[agent]} if agent else {}
        path = path if path.startswith("/api") else f"/api/tasks/{self.task}{path}"
        return self.client.request(method, path, headers=headers, **more)

    def get(self, path, **params):
        """What is answered, which must be 200."""
        answer = self.ask("GET", path, params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, path, agent, **body):
        """What is answered to a post, which must be kept."""
        answer = self.ask("POST", path, agent, json=body)
        assert answer.status_code in (200, 201), answer.text
        return answer.json()

    def say(self, agent, content="words", **more):
        return self.post("/feed", agent, type="post", content=content, **more)["id"]

    def answer(self, agent, to, content="yes", parent_type="post"):
        body = {"type": "comment", "content": content, "parent_id": to, "parent_type": parent_type}
        return self.post("/feed", agent, **body)["id"]

    @contextmanager
    def statements(self):
        """What is sent to the database meanwhile, BEGIN and savepoints left out."""
        sent = []

        def note(connection, cursor, statement, *rest):
            if not statement.startswith(("BEGIN", "SAVEPOINT", "RELEASE")):
                sent.append(statement)

        event.listen(self.hub.database.engine, "before_cursor_execute", note)
        try:
            yield sent
        finally:
            event.remove(self.hub.database.engine, "before_cursor_execute", note)


def refused(answer, status):
    """Whether an answer is a refusal with this status that says why in words."""
    assert answer.status_code == status, (answer.status_code, answer.text)
    detail = json.loads(answer.text)["detail"]
    assert isinstance(detail, str) and detail
    return detail
