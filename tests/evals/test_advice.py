import asyncio
import json
from dataclasses import dataclass, field

import pytest

from evolvent.envs.databases import Databases
from evolvent.errors import VerifierError
from evolvent.evals.advice import Consult, brief, consult
from evolvent.evals.diagnosis import by_statistics, world_name
from evolvent.policies.scripted import Fixed, Oracle
from evolvent.records import Completion, Finish, Sampling
from evolvent.rewards import by_task, judge_episodes
from evolvent.rollouts.play import Attempt, Stage, play
from evolvent.rollouts.seat import Budgets
from evolvent.rollouts.workflows import ToolLoop
from evolvent.synthesis.world_tasks import WorldTasks

SOURCE = WorldTasks(num_worlds=4, structures=("lookup", "two_hop"))
HOW = Consult("http://nobody", num_repairs=2)


@dataclass
class Script:
    """Says one text after the other, and remembers what it was asked."""

    texts: list
    name: str = "doctor"
    heard: list = field(default_factory=list)

    async def sample(self, prompts, how):
        self.heard += prompts
        text = self.texts[min(len(self.heard), len(self.texts)) - 1]
        return [Completion((), text, (), (), 0, Finish.STOP, f"call-{len(self.heard)}")]


def stage(policy):
    budgets = Budgets(200, 4000, 2000)
    return Stage(ToolLoop(6), Databases(), {"agent": policy}, {"agent": "agent"}, Sampling(200, seed=1), budgets)


@pytest.fixture(scope="module")
def episodes():
    """Lookups solved, tasks of two hops answered at once with words that are wrong."""
    tasks = {family: [SOURCE.task(family, 1, i, "arena") for i in range(4)] for family in SOURCE.families}
    right = play([Attempt(t, 0) for t in tasks["lookup"]], stage(Oracle.of(tasks["lookup"])))
    wrong = play([Attempt(t, 0) for t in tasks["two_hop"]], stage(Fixed("rather not")))
    return judge_episodes(by_task, [*right, *wrong])


@pytest.fixture(scope="module")
def counted(episodes):
    return by_statistics(episodes, number=3, step=60)


def answer(*rows):
    keys = ("environment", "lack", "guideline")
    return json.dumps({"ranking": [dict(zip(keys, row, strict=True)) for row in rows]})


def weakest(counted):
    return next(f"E{i}" for i, one in enumerate(counted.worlds, 1) if one.family == "two_hop")


def ask(script, episodes, counted):
    return asyncio.run(consult(script, episodes, counted, Databases(), how=HOW))


def test_a_ranking_becomes_the_same_record_as_counts_do(episodes, counted):
    name = weakest(counted)
    found = ask(Script([answer((name, "wrong tool use", "Make it follow a link."))]), episodes, counted)
    assert type(found) is type(counted)
    assert (found.round, found.step, found.author) == (3, 60, "doctor")
    assert found.weakest == ("two_hop",)
    [guideline] = found.weak[0].guidelines
    assert guideline.words == "Make it follow a link."
    assert guideline.world in {world_name(e.task) for e in episodes if e.task.family == "two_hop"}
    assert found.classes == counted.classes, "the counts are ours, whatever a model says"


def test_classes_are_ranked_by_the_order_in_which_their_environments_are_named(episodes, counted):
    names = {one.family: f"E{i}" for i, one in enumerate(counted.worlds, 1)}
    rows = [(names[f], "missing capability", f) for f in ("lookup", "two_hop")]
    found = ask(Script([answer(*rows)]), episodes, counted)
    assert [(one.family, one.rank) for one in found.weak] == [("lookup", 1), ("two_hop", 2)]


def test_words_around_the_object_do_no_harm_and_an_empty_ranking_is_an_answer(episodes, counted):
    found = ask(Script(['Here you are:\n```json\n{"ranking": []}\n```']), episodes, counted)
    assert found.weak == ()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("I would say E1.", "no ranking"),
        ('{"ranking": "E1"}', "no ranking"),
        (answer(("E99", "wrong tool use", "x")), "no such environment"),
        (answer(("E1", "laziness", "x")), "no such lack"),
        (answer(("E1", "wrong tool use", " ")), "'guideline' is missing"),
        (answer(("E1", "wrong tool use", "x"), ("E1", "wrong tool use", "y")), "stands twice"),
        ('{"ranking": [7]}', "'environment' is missing"),
    ],
)
def test_what_cannot_be_used_is_said_back_and_may_be_repaired(episodes, counted, text, told):
    script = Script([text, answer(("E1", "wrong tool use", "better"))])
    found = ask(script, episodes, counted)
    assert found.weak[0].guidelines[0].words == "better"
    first, second = script.heard
    assert second.messages[:1] == first.messages, "the repair does not see what was asked"
    assert told in second.messages[-1].text


def test_repairs_are_bounded(episodes, counted):
    script = Script(["no"])
    with pytest.raises(VerifierError, match="no ranking that can be read"):
        ask(script, episodes, counted)
    assert len(script.heard) == 1 + HOW.num_repairs


def test_the_prompt_holds_counts_schemas_and_failed_traces(episodes, counted):
    text = asyncio.run(brief(episodes, counted, Databases(), 2))
    failed = next(e for e in episodes if e.task.family == "two_hop")
    assert "success 0%" in text
    assert "wrong tool" in text
    assert failed.task.question in text
    assert "rather not" in text
    assert "grader: answer wrong, state right" in text
    assert "table " in text
    assert text.count("\nENVIRONMENT E") == len(counted.worlds)


def test_the_prompt_gives_no_answer_path_away(episodes, counted):
    text = asyncio.run(brief(episodes, counted, Databases(), 2))
    for one in (e for e in episodes if e.task.family == "two_hop"):
        calls = [call for message in one.task.private.solution for call in message.calls]
        assert not any(json.dumps(dict(call.arguments)) in text for call in calls)
        assert one.task.private.data["state"] not in text


def test_the_words_of_solved_attempts_are_not_shown(episodes, counted):
    text = asyncio.run(brief(episodes, counted, Databases(), 2))
    solved = [e.task.question for e in episodes if e.task.family == "lookup"]
    assert not any(question in text for question in solved)
