"""Propose, gate, attempt: who hears what, and what the judge is told."""

from dataclasses import dataclass, field, replace

import pytest

from evolvent.codec import from_json, to_json
from evolvent.envs import Toolbox
from evolvent.policies.scripted import Fixed
from evolvent.records import Completion, Finish, Sampling, said
from evolvent.rewards.gated import Gated
from evolvent.rollouts.play import Attempt, Stage, play
from evolvent.rollouts.seat import Budgets
from evolvent.rollouts.selfplay import (
    SAYS_NO,
    SAYS_NOTHING,
    Alone,
    Asked,
    Practise,
    Rehearse,
    SelfPlay,
    readable,
    verified,
)
from evolvent.synthesis.domains import Integrals
from evolvent.tasks import Procedural

SEED = Procedural(("antiderivative",)).task("antiderivative", 2, 0)
SEATS = {"setter": "setter", "solver/1": "solver", "solver/2": "solver", "anchor/1": "anchor", "judge": "judge"}


@dataclass
class Listening:
    """Says the same words, and keeps what it was asked."""

    text: str
    name: str = "policy"
    asked: list = field(default_factory=list)

    async def sample(self, prompts, how):
        self.asked += [p.messages[-1].text for p in prompts]
        reply = said("assistant", self.text)
        return [Completion((), self.text, (), (), 0, Finish.STOP, f"call-{len(self.asked)}", reply) for _ in prompts]


def played(words, gate=verified, verdict="yes", **more):
    policies = {name: Listening("x^3") for name in ("solver", "anchor")}
    policies |= {"setter": Listening(words), "judge": Listening(verdict)}
    workflow = SelfPlay(Integrals(), gate, attempted_by=("solver", "anchor"), **more)
    budgets = Budgets(64, 256, 64)
    stage = Stage(workflow, Toolbox(()), policies, SEATS, Sampling(64), budgets)
    [episode] = play([Attempt(SEED, 0)], stage)
    return episode, policies


def test_an_accepted_problem_is_attempted_by_every_seat_of_its_roles():
    episode, policies = played("x^3 => 3x^2")
    assert policies["setter"].asked == [f"harder than {SEED.question}"]
    assert policies["solver"].asked == ["integrate 3x^2"] * 2
    assert policies["anchor"].asked == ["integrate 3x^2"]
    assert policies["judge"].asked == []
    info = episode.info
    assert info["attempts"] == {"solver/1": "x^3", "solver/2": "x^3", "anchor/1": "x^3"}
    assert (info["fault"], info["refused"], info["agrees"], info["problem"]) == ("", "", True, "3x^2")
    assert info["posed"].private.answer == "x^3"
    assert info["posed"].origin.parents == (SEED.task_id,)


@pytest.mark.parametrize("words", ["x^4 => 3x^2", "no idea", "5 => 0", f"7x => {7}x^2", ""])
def test_what_is_refused_reaches_nobody(words):
    episode, policies = played(words)
    assert policies["solver"].asked == policies["anchor"].asked == []
    assert episode.info["refused"]
    assert episode.info["posed"] is None
    assert episode.info["attempts"] == {}


def test_the_seed_may_stand_in_for_what_was_refused():
    episode, policies = played("x^4 => 3x^2", instead=("solver",))
    assert policies["solver"].asked == [SEED.question] * 2
    assert policies["anchor"].asked == []
    assert episode.info["posed"] == SEED


def test_without_the_gate_what_is_wrong_is_posed():
    episode, policies = played("x^4 => 3x^2", gate=readable)
    assert policies["solver"].asked == ["integrate 3x^2"] * 2
    assert (episode.info["fault"], episode.info["refused"], episode.info["agrees"]) == ("wrong", "", False)
    assert played("gibberish", gate=readable)[0].info["refused"] == "unreadable"


@pytest.mark.parametrize(
    ("words", "verdict", "refused", "agrees"),
    [
        ("x^3 => 3x^2", "Yes.", "", True),
        ("x^3 => 3x^2", "**yes**, it is", "", True),
        ("x^3 => 3x^2", "no", SAYS_NO, False),
        ("x^3 => 3x^2", "yesterday", SAYS_NOTHING, False),
        ("x^4 => 3x^2", "yes", "", False),  # the soft gate is wrong, and that is told
        ("x^4 => 3x^2", "No, it is not", SAYS_NO, True),
    ],
)
def test_a_soft_gate_asks_a_policy_and_tells_whether_the_verifier_agrees(words, verdict, refused, agrees):
    episode, policies = played(words, gate=Asked(rules=("copy",)), verdict=verdict)
    assert len(policies["judge"].asked) == 1
    assert words.partition(" => ")[2] in policies["judge"].asked[0]
    assert (episode.info["refused"], episode.info["agrees"]) == (refused, agrees)
    assert bool(policies["solver"].asked) == (refused == "")


@pytest.mark.parametrize("words", ["gibberish", f"{SEED.private.answer} => {SEED.private.data['integrand']}"])
def test_a_soft_gate_asks_nobody_where_fixed_rules_decide(words):
    episode, policies = played(words, gate=Asked(rules=("copy",)))
    assert policies["judge"].asked == []
    assert episode.info["refused"] in ("unreadable", "copy")


def test_what_was_proposed_survives_the_trip_through_json():
    info = dict(played("x^3 => 3x^2")[0].info)
    assert from_json(to_json(info)) == info


def test_what_is_measured_is_one_solver_alone():
    stage = Stage(Alone(), Toolbox(()), {"s": Fixed("x^2")}, {"solver/1": "s"}, Sampling(64), Budgets(64, 256, 64))
    [episode] = play([Attempt(SEED, 0)], stage)
    assert episode.answer == "x^2"
    assert [t.message.text for t in episode.traces[0].turns] == [SEED.question, "x^2"]


def test_practice_without_a_setter_lets_every_solver_attempt_the_seed():
    policies = {name: Listening("x^2") for name in set(SEATS.values())}
    stage = Stage(Practise(), Toolbox(()), policies, SEATS, Sampling(64), Budgets(64, 256, 64))
    [episode] = play([Attempt(SEED, 0)], stage)
    assert policies["solver"].asked == [SEED.question] * 2
    assert policies["setter"].asked == policies["anchor"].asked == []
    assert episode.info == {"posed": SEED, "attempts": {"solver/1": "x^2", "solver/2": "x^2"}}
    [scores] = Gated(against=("anchor",), coverage=0.0, faults=())([episode])
    assert set(scores) == {"solver/1", "solver/2"}


def test_a_rehearsal_recites_for_setter_and_solver(nano):
    stage = Stage(
        Rehearse(Integrals()),
        Toolbox(()),
        {"nano": nano},
        {"setter": "nano", "solver/1": "nano", "solver/2": "nano"},
        Sampling(64),
        Budgets(96, 256, 96),
    )
    [episode] = play([Attempt(SEED, 0)], stage)
    said_by = {t.seat: [turn.message.text for turn in t.turns] for t in episode.traces}
    assert said_by["setter"] == [f"harder than {SEED.question}", Integrals().show(SEED)]
    assert said_by["solver/1"] == [SEED.question, SEED.private.answer]
    assert said_by["solver/2"] == []
    assert episode.answer == SEED.private.answer


def test_a_seat_without_room_says_nothing():
    stage = Stage(Alone(), Toolbox(()), {"s": Fixed("x")}, {"solver/1": "s"}, Sampling(64), Budgets(64, 256, 0))
    [episode] = play([Attempt(SEED, 0)], stage)
    assert replace(episode, traces=()).answer == ""
