"""A team of unlike policies learns: own weights, own tokenizers, own optimizers; some frozen, one behind a URL."""

import json
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch

from evolvent import Run, Suite, improve
from evolvent.codec import to_json
from evolvent.credit.advantage import Centred, Standardized
from evolvent.credit.turns import PerTurn
from evolvent.curriculum import Uniform
from evolvent.effects.arms import build_policies
from evolvent.envs import Toolbox
from evolvent.live import Live
from evolvent.models import ModelSpec
from evolvent.plans import Improve
from evolvent.rewards import by_task
from evolvent.rewards.central import Central, margin, same_trajectory
from evolvent.rollouts.graph import mixture
from evolvent.rollouts.seat import Budgets
from evolvent.rollouts.team import Teamwork, last_word
from evolvent.tasks.machines import Machines
from evolvent.training.losses import Clip, PolicyLoss, per_token, token_mean
from evolvent.training.optim import AdamW, Muon

torch.set_num_threads(1)

SMALL, LARGE = ModelSpec(depth=1, max_context=128), ModelSpec(depth=2, max_context=192, vocab_size=300)
LOSS = PolicyLoss(ratio=per_token, gain=Clip(0.2, 0.2), reduce=token_mean)


def parity(task, answer):
    """Models that know nothing are never right, and differ in this."""
    from evolvent.records import Score

    return Score(float(sum(map(ord, answer)) % 2))


def plan(**changes):
    """Two proposers of one small policy, a third that is frozen, and an aggregator of another kind."""
    made = Improve(
        recipe="team",
        source=Machines(),
        model={"small": SMALL, "large": LARGE, "old": SMALL},
        seats={"proposer1": "small", "proposer2": "small", "proposer3": "old", "aggregator": "large"},
        frozen=("old",),
        curriculum=Uniform(1),
        workflow=Teamwork(mixture(3), last_word),
        world=Toolbox(()),
        reward=Central(same_trajectory, margin, raw=parity),
        truth=by_task,
        advantage={"small": PerTurn(Standardized(ddof=1, eps=1e-6)), "large": PerTurn(Centred())},
        loss=LOSS,
        optimizer={"small": AdamW(lr=1e-3), "large": Muon(lr=0.01, rest=AdamW(lr=1e-3))},
        num_steps=2,
        tasks_per_step=2,
        group_size=4,
        budgets=Budgets(turn_tokens=8, context_tokens=120, episode_tokens=16),
        suite=Suite(num_tasks=2, num_tasks_during=1, num_levels=1, best_of=1),
        eval_every=9,
        checkpoint_every=9,
        num_threads=1,
        sinks=(),
        unproven=True,
    )
    return replace(made, **changes)


def weights_of(policies):
    return {
        name: {key: weight.detach().clone() for key, weight in policy.named_parameters()}
        for name, policy in policies.items()
        if hasattr(policy, "named_parameters")
    }


def changed(before, after):
    """The names of the policies any of whose weights moved by a bit."""
    return {name for name in before if any(not torch.equal(w, after[name][key]) for key, w in before[name].items())}


def begin(made, folder):
    return Run.create(to_json(made), made.recipe, made.seed, folder)


def test_two_unlike_policies_learn_together_and_the_frozen_one_stays_as_it_was(tmp_path):
    made = plan()
    policies = build_policies(made)
    small, large = policies["small"].renderer, policies["large"].renderer
    assert small.tokenizer.vocab_size != large.tokenizer.vocab_size, "the same tokenizer twice"
    before = weights_of(policies)
    run = begin(made, tmp_path / "run")
    improve(made, policies, run)
    assert changed(before, weights_of(policies)) == {"small", "large"}
    lines = [line for line in run.metrics() if line.get("phase") == "practice"]
    assert {"small/num_untrainable", "large/num_untrainable", "reward/aggregator.1.paid"} <= set(lines[-1])


def test_an_update_of_one_policy_changes_no_other(tmp_path):
    made = plan()
    policies = build_policies(made)
    with Live(made, policies, begin(made, tmp_path / "run"), lambda _: None) as live:
        step = next(live.steps())
        phase = live.phase(step)
        scored = live.score(step, live.play(step, phase))
        for name in ("large", "small"):
            before = weights_of(policies)
            batch = live.assign(step, scored, phase, name)
            assert {row.trace[2].rstrip("123") for row in batch.rows} <= (
                {"aggregator"} if name == "large" else {"proposer"}
            )
            live.update(phase, name, batch)
            assert changed(before, weights_of(policies)) == {name}


def test_seats_that_share_a_policy_learn_in_groups_of_their_own(tmp_path):
    made = plan()
    policies = build_policies(made)
    with Live(made, policies, begin(made, tmp_path / "run"), lambda _: None) as live:
        step = next(live.steps())
        phase = live.phase(step)
        batch = live.assign(step, live.score(step, live.play(step, phase)), phase, "small")
    assert batch.num_groups == made.tasks_per_step * 2
    assert {row.group[1] for row in batch.rows} <= {"proposer1", "proposer2"}
    assert all(row.group[1] == row.trace[2] for row in batch.rows), "a group mixes seats"


class Proposes(BaseHTTPRequestHandler):
    """A server that answers every question alike, and keeps what it was asked."""

    asked: list

    def do_POST(self):
        self.asked.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "47"}}
        told = {"id": "1", "model": "m", "choices": [choice], "usage": {"prompt_tokens": 3, "completion_tokens": 1}}
        body = json.dumps(told).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *about):
        pass


@pytest.fixture
def server():
    handler = type("Handler", (Proposes,), {"asked": []})
    served = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=served.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{served.server_address[1]}/v1#m", handler.asked
    served.shutdown()
    thread.join()
    served.server_close()


def test_a_seat_may_sit_behind_a_url_while_the_others_learn(tmp_path, server):
    url, asked = server
    made = plan(model={"small": SMALL, "large": LARGE, "old": url}, num_steps=1)
    policies = build_policies(made)
    before = weights_of(policies)
    run = begin(made, tmp_path / "run")
    improve(made, policies, run)
    assert changed(before, weights_of(policies)) == {"small", "large"}
    assert len(asked) >= made.tasks_per_step * made.group_size
    episodes = [e for e in run.episodes(1) if e.outcome.carries_reward]
    words = {line["words"] for e in episodes for line in e.info["transcript"] if line["seat"] == "proposer3"}
    assert words == {"47"}
    assert {t.trainable for e in episodes for t in e.traces if t.seat == "proposer3"} == {False}
