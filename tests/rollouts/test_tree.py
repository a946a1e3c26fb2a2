import base64
import json
from collections import Counter
from dataclasses import replace

import pytest

from evolvent.credit.batch import rows_of
from evolvent.envs import Toolbox
from evolvent.errors import BadInput
from evolvent.policies.scripted import Fixed
from evolvent.records import ToolCall, said
from evolvent.rollouts.play import play
from evolvent.rollouts.search import ABMCTS, Beam, BestOf
from evolvent.rollouts.seat import Budgets
from evolvent.rollouts.tree import Act, Refine, Write, nodes_of
from evolvent.seeds import stream

ROOM = Budgets(turn_tokens=40, context_tokens=400, episode_tokens=2000)


def nearness(task, answer):
    """How near a number is to 9, and in which direction it lies."""
    number = int(answer) if answer.isdigit() else 0
    return max(0.0, 1 - abs(9 - number) / 9), "more" if number < 9 else "ok"


def counts_up(puppet):
    """Says 1 to a problem, and one more than what an attempt said to who must do better."""

    def speak(prompt):
        last = prompt.messages[-1].text
        first = last.split("\n")[0]
        number = int(first) + 1 if last.endswith(("more", "ok")) and first.isdigit() else 1
        return puppet.renderer.reply(said("assistant", str(number)), prompt.tools)

    puppet.speak = speak
    return puppet


@pytest.fixture
def searched(puppet, stage, attempts):
    """Episodes of a search by a policy that counts up."""

    def get(workflow, num=1, seats=("agent",), **changes):
        made = {"world": Toolbox(()), "budgets": ROOM, "seats": dict.fromkeys(seats, "agent"), **changes}
        return play(attempts(num), stage(counts_up(puppet), workflow=workflow, **made))

    return get


# ---------------------------------------------------------------- whole attempts


def test_a_child_hears_the_problem_its_parents_attempt_and_what_the_tests_said(searched, puppet):
    [episode] = searched(ABMCTS(4, Refine(nearness)))
    heard = [[m.text for m in prompt.messages] for prompt, _ in puppet.made]
    question = episode.task.question
    nodes = nodes_of(episode.info)
    for node, messages in zip(nodes, heard, strict=True):
        if node.parent is None:
            assert messages == [question]
        else:
            parent = nodes[node.parent]
            assert messages == [question, f"{parent.text}\n{parent.words}"]
    assert any(node.parent is not None for node in nodes)


def test_every_node_is_a_context_of_its_own_and_the_record_says_whose_child_it_is(searched):
    [episode] = searched(ABMCTS(6, Refine(nearness)))
    [trace], nodes = episode.traces, nodes_of(episode.info)
    assert len(rows_of(trace, ("t", "agent"), 1.0)) == len(nodes) == 6
    assert [n.number for n in nodes] == list(range(6))
    for node in nodes:
        turn = trace.turns[node.turn]
        assert turn.message.text.strip() == node.text and all(turn.mask) and len(turn.tokens) == node.num_tokens
        assert node.parent is None or node.parent < node.number
        assert node.depth == (1 if node.parent is None else nodes[node.parent].depth + 1)
    assert json.loads(json.dumps(episode.info)) == dict(episode.info), "plain JSON values, as stored"


def test_the_answer_is_that_of_the_best_node(searched):
    [episode] = searched(ABMCTS(12, Refine(nearness)))
    nodes = nodes_of(episode.info)
    assert nodes[episode.info["best"]].score == max(node.score for node in nodes)
    assert episode.answer == nodes[episode.info["best"]].text


def test_chance_is_keyed_by_the_seed_and_the_attempt(searched, stage, puppet):
    def shapes(seed):
        how = replace(stage(puppet).how, seed=seed)
        return [[n.parent for n in nodes_of(e.info)] for e in searched(ABMCTS(8, Refine(nearness)), 4, how=how)]

    assert shapes(7) == shapes(7)
    assert shapes(7) != shapes(8)
    assert len({tuple(shape) for shape in shapes(7)}) > 1, "episodes do not all draw the same"


def test_two_agents_refine_each_other_and_each_has_its_own_trace(searched):
    [episode] = searched(ABMCTS(16, Refine(nearness), ("left", "right")), seats=("left", "right"))
    nodes, traces = nodes_of(episode.info), {t.seat: t for t in episode.traces}
    made_by = Counter(node.seat for node in nodes)
    assert set(made_by) == {"left", "right"}
    for seat, num in made_by.items():
        assert len(rows_of(traces[seat], ("t", seat), 1.0)) == num
    assert any(n.parent is not None and nodes[n.parent].seat != n.seat for n in nodes), "they hear each other"


def test_what_passes_all_tests_is_not_refined(searched):
    def passes(task, answer):
        return (1.0, "ok") if answer == "2" else (0.4, "more")

    [episode] = searched(ABMCTS(20, Refine(passes)))
    nodes = nodes_of(episode.info)
    assert len(nodes) == 20 and any(node.score == 1 for node in nodes)
    assert not [n for n in nodes if n.parent is not None and nodes[n.parent].score == 1]
    [early] = searched(ABMCTS(20, Refine(passes), ends_when_solved=True))
    assert [node.score for node in nodes_of(early.info)].index(1.0) == len(nodes_of(early.info)) - 1


def test_a_search_ends_where_the_tokens_of_the_episode_do(searched):
    [episode] = searched(BestOf(50, Refine(nearness)), budgets=replace(ROOM, episode_tokens=7))
    assert 0 < len(nodes_of(episode.info)) < 50
    assert episode.answer == "1" and episode.outcome.carries_reward
    assert episode.traces[0].truncation == "episode"


def test_an_attempt_without_an_end_is_a_node_like_others(puppet, stage, attempts):
    puppet.speak = lambda prompt: puppet.renderer.plain("1" * 99)
    budgets = Budgets(turn_tokens=5, context_tokens=200, episode_tokens=200)
    changes = {"workflow": BestOf(3, Refine(nearness)), "world": Toolbox(()), "budgets": budgets}
    [episode] = play(attempts(1), stage(puppet, **changes))
    assert [node.text for node in nodes_of(episode.info)] == ["11111"] * 3


def test_of_best_of_n_none_hears_another(searched, puppet):
    [episode] = searched(BestOf(5, Refine(nearness), ("a", "b")), seats=("a", "b"))
    nodes = nodes_of(episode.info)
    assert [node.parent for node in nodes] == [None] * 5 and [n.seat for n in nodes] == ["a", "b", "a", "b", "a"]
    assert {len(prompt.messages) for prompt, _ in puppet.made} == {1}


def test_agents_without_weights_search_too(stage, attempts):
    """An endpoint gives no token ids; one agent may be such, and the other one trained."""
    changes = {"world": Toolbox(()), "budgets": ROOM, "workflow": ABMCTS(6, Refine(nearness), ("agent", "sage"))}
    made = replace(stage(Fixed("5")), seats={"agent": "agent", "sage": "sage"}, **changes)
    [episode] = play(attempts(1), replace(made, policies={"agent": Fixed("5"), "sage": Fixed("7")}))
    nodes = nodes_of(episode.info)
    assert episode.answer == "7" and len(nodes) == 6 and not any(trace.trainable for trace in episode.traces)
    for trace in episode.traces:
        assert {trace.turns[n.turn].message.text for n in nodes if n.seat == trace.seat} == {
            trace.turns[-1].message.text
        }


@pytest.mark.parametrize("score", [-0.1, 1.1, float("nan")])
def test_a_score_outside_0_to_1_is_refused(score, searched):
    with pytest.raises(BadInput, match="worth 0 to 1"):
        searched(BestOf(1, Refine(lambda task, answer: (score, ""))))


def test_an_episode_without_a_tree_has_no_nodes():
    with pytest.raises(BadInput, match="holds no tree"):
        nodes_of({"winner": "first"}, "e/0")


# ---------------------------------------------------------------- steps of one reply


def share_of_a(task, world, text):
    return text.count("a") / max(1, len(text.replace(";", "")))


@pytest.fixture
def scribe(puppet):
    """Writes three steps of a letter each, then the end; which letter follows from the random stream of the turn."""

    def speak(prompt):
        steps = puppet.renderer.text(prompt.tokens).count(";")
        letter = stream(0, *prompt.stream).choice("ab")
        end = puppet.renderer.reply(said("assistant", ""), prompt.tools)
        return puppet.renderer.plain(f"{letter};") if steps < 3 else end

    puppet.speak = speak
    return puppet


def test_a_beam_over_steps_keeps_what_is_worth_most(scribe, stage, attempts):
    changes = {"world": Toolbox(()), "budgets": ROOM}
    beam = Beam(width=2, num_children=3, max_depth=6, growth=Write(share_of_a, stops=(";",)))
    [episode] = play(attempts(1), stage(scribe, workflow=beam, **changes))
    nodes = nodes_of(episode.info)
    assert episode.answer == "a;a;a;", "the best of six letters three times over is an a nearly for certain"
    assert Counter(node.depth for node in nodes)[1] == 6
    for node in nodes:
        if node.parent is not None:
            assert node.text.startswith(nodes[node.parent].text[:-1])
    followed = Counter(nodes[number].depth for number in {n.parent for n in nodes if n.parent is not None})
    assert max(followed.values()) <= 2, "no more than the width have children"


def test_steps_of_one_reply_are_recorded_as_contexts_that_begin_with_what_was_said(scribe, stage, attempts):
    changes = {"world": Toolbox(()), "budgets": ROOM}
    search = BestOf(2, Write(share_of_a, stops=(";",)))
    [episode] = play(attempts(1), stage(scribe, workflow=search, **changes))
    [trace] = episode.traces
    rows = rows_of(trace, ("t", "agent"), 1.0)
    nodes = nodes_of(episode.info)
    assert len(rows) == len(nodes) == 8
    for node, row in zip(nodes, rows, strict=True):
        words = scribe.renderer.text(tuple(row.tokens[row.mask]))
        assert node.text.endswith(words.removesuffix("<|end|>"))
        assert row.num_targets == node.num_tokens


def test_two_seats_cannot_write_one_reply(searched):
    with pytest.raises(BadInput, match="one seat"):
        searched(BestOf(2, Write(share_of_a), ("a", "b")), seats=("a", "b"))


# ---------------------------------------------------------------- actions in a world


class Ladder:
    """A counter to be brought to 3; it remembers, and goes back."""

    def __init__(self):
        self.height, self.__name__, self.log = 0, "climb", []

    def open(self, task, seed):
        fresh = Ladder()
        fresh.log = self.log
        return fresh

    def __call__(self, up: int) -> str:
        """Climb."""
        self.height += up
        self.log.append(self.height)
        return f"at {self.height}"

    def snapshot(self):
        return str(self.height).encode()

    def restore(self, state):
        self.height = int(state)


def height(task, world, text):
    return min(1.0, max(0, _height(world)) / 3)


def _height(world):
    return int(base64.b64decode(json.loads(world.snapshot())["tools"]["climb"]))


@pytest.fixture
def climber(puppet):
    """Climbs up or down by the stream of the turn; says done after three actions."""

    def speak(prompt):
        if sum(m.role == "tool" for m in prompt.messages) >= 3:
            return puppet.renderer.reply(said("assistant", "done"), prompt.tools)
        up = stream(0, *prompt.stream).choice((1, -1))
        message = replace(said("assistant", ""), blocks=(ToolCall("climb", {"up": up}),))
        return puppet.renderer.reply(message, prompt.tools)

    puppet.speak = speak
    return puppet


def test_actions_are_searched_from_snapshots_and_the_world_is_left_as_the_best(climber, stage, attempts):
    ladder, left = Ladder(), []

    async def search(task, team, world):
        answer = await Beam(width=1, num_children=6, max_depth=4, growth=Act(height))(task, team, world)
        left.append(_height(world))
        return answer

    [episode] = play(attempts(1), stage(climber, workflow=search, world=Toolbox((ladder,), max_calls=99), budgets=ROOM))
    nodes = nodes_of(episode.info)
    assert left == [3], "one of six went up, three times over, and the world is where the best path ended"
    assert episode.answer == "done" and nodes[episode.info["best"]].depth == 4
    assert set(ladder.log[:6]) <= {1, -1} and set(ladder.log[6:12]) <= {0, 2}, "each began where its parent had ended"


def test_a_child_goes_on_with_what_its_parent_saw(climber, stage, attempts):
    world = Toolbox((Ladder(),), max_calls=99)
    search = ABMCTS(10, Act(height))
    [episode] = play(attempts(1), stage(climber, workflow=search, world=world, budgets=ROOM))
    [trace], nodes = episode.traces, nodes_of(episode.info)
    assert any(node.parent is not None for node in nodes)
    for node in nodes:
        if node.parent is not None:
            assert trace.turns[node.turn - 1].message.text.startswith("at "), "the result of the parent's call"
            assert not nodes[node.parent].is_end


def test_a_world_that_cannot_go_back_is_refused(searched):
    class Stubborn:
        """Remembers, and cannot go back."""

        __name__ = "stubborn"

        def open(self, task, seed):
            return self

        def __call__(self) -> str:
            """Do it."""
            return "done"

    with pytest.raises(BadInput, match=r"(?s)go back to a snapshot.*whole attempts"):
        searched(BestOf(2, Act(height)), world=Toolbox((Stubborn(),)))


def test_two_seats_cannot_act_as_one(searched):
    with pytest.raises(BadInput, match="one seat"):
        searched(BestOf(2, Act(height), ("a", "b")), seats=("a", "b"))


def test_who_is_not_to_move_cannot_search(searched):
    with pytest.raises(BadInput, match=r"(?s)this seat alone acts.*agent to move"):
        searched(BestOf(2, Act(height), ("b",)), seats=("agent", "b"))
