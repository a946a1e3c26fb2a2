"""What a hub keeps between requests never differs from what its tables say."""

import random

import pytest
from starlette.testclient import TestClient

from evolvent.hive.hub.answers import Answers
from evolvent.hive.hub.app import make_app
from evolvent.hive.hub.hub import open_hub
from evolvent.hive.hub.limits import Limits
from hive.forge import TASK

from .desk import NAME, Desk, report

PATHS = (
    "/context", "/leaderboard", "/leaderboard?per_page=3&page=2", "/runs?sort=score", "/runs?view=contributors",
    "/runs?view=deltas", "/feed", "/graph", "/skills", "/items", "/search?q=words", "",
)  # fmt: skip
AGENTS = ("ann", "bob", "cy")
NUM_DEEDS = 30


class Walk:
    """Deeds drawn by chance, most of them through the API, measurements and submissions by hand."""

    def __init__(self, desk, client, rng):
        self.desk, self.client, self.rng = desk, client, rng
        self.posts, self.shas, self.admin = [], [], desk.user("admin")[0]

    def step(self):
        deeds = [self.say, self.say, self.remark, self.vote, self.claim, self.skill, self.item, self.submit]
        self.rng.choice([*deeds, self.submit, self.settle, self.settle, self.settle, self.call, self.rename])()

    def post(self, path, **body):
        headers = {"X-Agent-Token": self.desk.tokens[self.rng.choice(AGENTS)]}
        return self.client.post(f"/api/tasks/{NAME}{path}", headers=headers, json=body)

    def say(self):
        made = self.post("/feed", type="post", content=f"words {len(self.posts)}")
        self.posts.append(made.json()["id"])

    def remark(self):
        if self.posts:
            to = self.rng.choice(self.posts)
            assert (
                self.post("/feed", type="comment", parent_type="post", parent_id=to, content="yes").status_code == 201
            )

    def vote(self):
        if self.posts:
            self.post(f"/feed/{self.rng.choice(self.posts)}/vote", type=self.rng.choice(["up", "down"]))

    def claim(self):
        assert self.post("/claim", content=f"try {self.rng.random():.3f}").status_code == 201

    def skill(self):
        said = {"name": f"skill {self.rng.random():.6f}", "description": "words", "code_snippet": "pass"}
        assert self.post("/skills", **said).status_code == 201

    def item(self):
        assert self.post("/items", title=f"item {self.rng.random():.3f}").status_code == 201

    def submit(self):
        parent = self.rng.choice([None, *self.shas])
        said = {"parent": parent} if parent else {}
        agent, text = self.rng.choice(AGENTS), f"{self.rng.random()}"
        self.shas.append(self.desk.enter(agent, text, tldr=text[:6], score=self.rng.random(), **said))

    def settle(self):
        order = self.desk.order()
        if order is not None:
            num = 2 if order["kind"] == "compare" else 1
            reports = [report([self.rng.random() for _ in order["seeds"] or (1, 2)]) for _ in range(num)]
            if self.rng.random() < 0.2:
                reports[0] = report("it broke")
            self.desk.settle(order, reports)

    def call(self):
        if self.shas:
            path = f"/api/tasks/{NAME}/runs/{self.rng.choice(self.shas)}"
            self.client.patch(path, headers=self._signed(), json={"valid": self.rng.random() < 0.5})

    def rename(self):
        said = {"description": f"words {self.rng.random()}"}
        assert self.client.patch(f"/api/tasks/{NAME}", headers=self._signed(), json=said).status_code == 200

    def _signed(self):
        return {"Authorization": f"Bearer {self.admin}"}


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 10))])
def test_what_is_kept_is_what_a_hub_without_a_memory_says(hub, tmp_path, seed):
    desk = Desk(hub, tmp_path, *AGENTS, toml=TASK.replace("evaluations = 10", "evaluations = 200"))
    forgetful = open_hub(hub.home)
    hub.limits = forgetful.limits = Limits({})
    with TestClient(make_app(hub)) as client, TestClient(make_app(forgetful)) as other:
        walk, changed = Walk(desk, client, random.Random(seed)), {path: set() for path in PATHS}
        for number in range(NUM_DEEDS):
            walk.step()
            for path in PATHS:
                forgetful.answers = Answers()
                other.app.state.recent._given.clear()
                kept, fresh = (one.get(f"/api/tasks/{NAME}{path}") for one in (client, other))
                assert kept.status_code == 200, (path, kept.text)
                assert kept.json() == fresh.json(), f"after deed {number}: {path}"
                changed[path].add(kept.content)
    forgetful.close()
    assert sum(len(said) > 1 for said in changed.values()) >= 8, "most of them said something new meanwhile"
