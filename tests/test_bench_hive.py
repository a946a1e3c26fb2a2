import itertools
import json
import sys
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # the benchmarks are no part of the package

from bench.hive_asking import Asking, differences  # noqa: E402
from bench.hive_load import Load, ceiling, request  # noqa: E402
from bench.hive_ours import check_counters, fill_hub, push_commits, serve_ours  # noqa: E402
from bench.hive_world import TASK, Scale, draw_world, tally  # noqa: E402

SMALL = Scale(num_agents=4, num_runs=40, num_posts=12, num_comments=20, num_votes=30, num_claims=2, num_skills=3)


def shas(num=12):
    return [[f"{agent:02d}{number:02d}".rjust(40, "a") for number in range(num)] for agent in range(SMALL.num_agents)]


@pytest.fixture(scope="module")
def world():
    return draw_world(SMALL, shas())


def test_a_world_is_drawn_from_its_seed_and_could_have_happened(world):
    again, other = draw_world(SMALL, shas()), draw_world(SMALL, shas(), seed=1)
    assert [run.score for run in world.runs] == [run.score for run in again.runs] != [run.score for run in other.runs]
    assert world.runs[0].parent is None and all(run.parent < i for i, run in enumerate(world.runs) if i)
    assert sorted(post.run for post in world.posts if post.run is not None) == list(range(SMALL.num_runs))
    assert list(world.posts) == sorted(world.posts, key=lambda post: post.at), "numbers of posts rise with time"
    best, improvements = 0.0, 0
    for run in world.runs:
        improvements += (run.score or 0.0) > best
        best = max(best, run.score or 0.0)
    assert (world.best.score, world.improvements) == (best, improvements)
    up, down, answers = tally(world)
    assert sum(up.values()) + sum(down.values()) == len(world.votes) and sum(answers.values()) == SMALL.num_comments


def parts(asked):
    head, body = asked.split(b"\r\n\r\n", 1)
    line, *headers = head.decode().split("\r\n")
    token = next(one.split(": ")[1] for one in headers if one.startswith("X-Agent-Token"))
    return (*line.split(" ")[:2], token, json.loads(body) if body else None)


def test_a_commit_is_submitted_once_and_by_the_agent_that_pushed_it(world):
    asking = Asking(world, shas(12))
    said = [parts(one) for one in asking.about("submit")]
    owner = {sha: world.tokens[agent] for agent, mine in enumerate(shas(12)) for sha in mine}
    assert len({body["sha"] for *_, body in said}) == len(said) == 48 == asking.num_submitted
    assert all(owner[body["sha"]] == token for _, _, token, body in said)


def test_nobody_votes_for_itself_and_a_tenth_of_the_mix_writes(world):
    asking = Asking(world, shas(200))
    for _, path, token, _ in map(parts, itertools.islice(asking.made["vote"], 200)):
        assert world.tokens[world.posts[int(path.split("/")[5]) - 1].agent] != token
    methods = Counter(parts(one)[0] for one in itertools.islice(asking.about("mixed"), 2_000))
    assert methods["POST"] / 2_000 == pytest.approx(0.1, abs=0.02)
    assert {parts(one)[0] for one in itertools.islice(asking.reading("mixed"), 200)} == {"GET"}


class Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = b"x" * 70_000
        self.send_response(500 if self.path == "/bad" else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def address():
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address
        server.shutdown()


def test_load_is_answered_to_the_last_request_and_what_is_refused_is_told(address):
    load = Load(address, 3)
    asked = [request("GET", "/bad" if i == 5 else "/", "t") for i in range(20)]
    window = load.run(iter(asked), 30.0)
    load.close()
    assert len(window.latencies_s) == 20 and all(seconds > 0 for seconds in window.latencies_s)
    assert [one.split(b"\r\n")[0].split(b" ")[1] for one in window.refused] == [b"500"]
    assert window.rate == pytest.approx(19 / window.seconds)


def test_the_generator_alone_is_measured():
    window = ceiling(4, 1_000, 0.5)
    assert not window.refused and window.rate > 0


def test_a_filled_hub_counts_what_the_world_holds_and_takes_what_was_pushed(tmp_path):
    from evolvent.hive.hub.hub import open_hub
    from evolvent.hive.hub.tasks import open_task
    from evolvent.hive.shipped import shipped

    hub = open_hub(tmp_path / "hub")
    open_task(hub, shipped(TASK))
    names = [f"agent-{i:03d}" for i in range(SMALL.num_agents)]
    pushed = push_commits(hub, names, 20)
    drawn = draw_world(SMALL, pushed)
    fill_hub(hub, drawn, pushed)
    check_counters(hub)
    assert hub.repositories.knows(TASK, names[3], pushed[3][19])
    hub.close()
    with serve_ours(tmp_path / "hub", None) as served:
        load = Load(served.address, 2)
        window = load.run(itertools.islice(Asking(drawn, [mine[-10:] for mine in pushed]).about("submit"), 12), 30.0)
        load.close()
        assert not window.refused and len(window.latencies_s) == 12
        assert differences(served.address, served.address, drawn) == {}
