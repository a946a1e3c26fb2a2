"""What effects ask of teams, asked of a team whose every word is known."""

from dataclasses import dataclass, field, replace

import pytest

from evolvent.effects import Arm, Spent
from evolvent.effects.teams import (
    Readers,
    answers_of,
    compare_team,
    gain_of,
    hear_others,
    held_out,
    right_of,
    talk_it_over,
    vote_alone,
)
from evolvent.evals.measure import Suite, count
from evolvent.plans import Improve
from evolvent.recipes import marti_debate
from evolvent.records import Completion, Finish, Report, said
from evolvent.seeds import stream
from evolvent.tasks.machines import run

SEATS = marti_debate.WORK.graph.seats
WHO = Readers(SEATS, depth=1, lone=SEATS[0], num_turns=marti_debate.NUM_TURNS)


@dataclass
class Checks:
    """Guesses a start for which it has a stream, and takes over whatever it hears that ends where it should."""

    reads: bool = True
    asked: list = field(default_factory=list)

    async def sample(self, prompts, how):
        return [self._one(prompt) for prompt in prompts]

    def _one(self, prompt):
        self.asked.append(prompt)
        question, *told = [line for message in prompt.messages for line in message.text.split("\n")]
        starts, program, goal = question.rstrip("?").split()
        guess = run(stream(how_seed(prompt), "guess").choice(starts), program)
        guess += "+" if guess[-1] == goal else "-"
        right = [line for line in told if line[-1] == "+"] if self.reads else []
        text = (right or [guess])[0]
        return Completion((), text, (), (), 0, Finish.STOP, str(prompt.stream), said("assistant", text))


def how_seed(prompt):
    return sum(map(ord, str(prompt.stream)))


def arm(policy):
    plan: Improve = replace(marti_debate.build(), suite=Suite(num_tasks=256, num_levels=1), cold_start=None)
    found = Arm(plan, {}, (), {"agent": policy}, Spent())
    reports = {name: Report(0, name, (count("machines", 1, talk_it_over(found)),), {}) for name in ("before", "after")}
    return replace(found, reports=reports)


@pytest.fixture(scope="module")
def readers():
    return arm(Checks())


@pytest.fixture(scope="module")
def deaf():
    return arm(Checks(reads=False))


@pytest.fixture(scope="module")
def played(readers):
    return talk_it_over(readers)


def share(outcomes):
    return sum(outcomes) / len(outcomes)


def test_reading_is_worth_what_reading_brings(readers, deaf, played):
    num_starts = readers.plan.source.num_starts
    assert share(right_of(readers, played, SEATS, 0)) == pytest.approx(1 / num_starts, abs=0.07)
    assert share(gain_of(readers, played, SEATS, 1)) > 0.2
    assert share(gain_of(deaf, talk_it_over(deaf), SEATS, 1)) == pytest.approx(0, abs=0.07)


def test_told_of_other_problems_nothing_is_gained(readers, played):
    mixed = hear_others(readers, played)
    assert share(gain_of(readers, mixed, SEATS, 1)) < 0.07 < share(gain_of(readers, played, SEATS, 1))
    [first, second, *_] = played
    heard = {line["words"] for line in second.info["transcript"] if line["round"] == 0}
    told = [p for p in readers.policies["agent"].asked if p.messages[0].text == first.task.question]
    assert any(set(p.messages[-1].text.split("\n")) <= heard for p in told if len(p.messages) > 1), "no other's words"


def test_a_vote_of_one_alone_gains_little_from_guesses(readers, played):
    votes = vote_alone(readers, SEATS[0], 3)
    assert len(votes) == len(held_out(readers)) == 256
    assert share(votes) < share(answers_of(played))


@pytest.mark.slow
def test_all_claims_of_a_team_are_observed_on_the_same_tasks(readers, deaf):
    found = compare_team(readers, deaf, deaf, WHO)
    assert {len(one.treated) for one in found} == {len(one.control) for one in found} == {256}
    assert len({one.claim for one in found}) == len(found) == 4
    assert all(share(one.treated) > share(one.control) for one in found[1:])
