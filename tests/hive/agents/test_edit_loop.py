import math
from dataclasses import dataclass, field
from random import Random

import pytest

from evolvent.cli.hive_agents import build_edit_loop
from evolvent.envs.sandbox import best
from evolvent.errors import BadInput, InfrastructureError
from evolvent.hive.agents.edit_loop import EditLoop
from evolvent.hive.agents.edit_prompt import Matter, write_prompt
from evolvent.hive.agents.own_score import OwnScore, measure_tree, read_score, read_tree, write_files
from evolvent.hive.agents.proposer import Context, Desk
from evolvent.hive.shipped import shipped
from evolvent.policies.scripted import Script
from evolvent.records import said
from evolvent.serve import PolicyDesk, background, make_app
from reciter import RENDERER, Reciter

TASK = shipped("packing")
BASE = "b" * 40
FIRST_FIT = """\
FILE: solve.py
```python
import json
def place(instance):
    loads, bins = [], []
    for size in instance["items"]:
        spot = next((i for i, load in enumerate(loads) if load + size <= instance["capacity"]), len(loads))
        if spot == len(loads):
            loads.append(0)
        loads[spot] += size
        bins.append(spot)
    return bins
print(json.dumps("ran"))
with open("inputs/instances.json") as file:
    answers = [place(one) for one in json.load(file)]
with open("predictions.json", "w") as file:
    json.dump(answers, file)
```
"""


@dataclass
class Writer(Reciter):
    """Says the replies one after the other, and keeps what it was asked."""

    replies: list[str] = field(default_factory=list)
    asked: list[list[str]] = field(default_factory=list)
    max_context: int = 16384

    def words_for(self, prompt):
        self.asked.append([message.text for message in prompt.messages])
        return tuple(RENDERER.reply(said("assistant", self.replies.pop(0))))


@pytest.fixture
def served():
    """A writer behind a real port, and the word agent= that names it."""
    writer = Writer()
    with background(make_app(PolicyDesk(writer, RENDERER, "w", default_max_tokens=4096))) as url:
        yield writer, f"{url}/v1#w"


@pytest.fixture
def tree(tmp_path):
    write_files(tmp_path, TASK.below("public"))
    return tmp_path


def context_of(**more):
    def refuse(*_):
        raise AssertionError("nobody may ask for this")

    told = {**TASK.tell(), "base_sha": BASE}
    given = {"task": told, "agent": "ant", "program": TASK.files["public/program.md"].decode(), "base": BASE}
    return Context(**(given | {"desk": Desk(refuse, refuse)} | more))


def loop_of(word, **fields):
    told = []
    return build_edit_loop(word, {name: str(value) for name, value in fields.items()}, told.append), told


def test_an_edit_of_a_served_model_is_carried_out_and_measured_in_the_sandbox(served, tree):
    writer, word = served
    writer.replies = ["IDEA: first fit\n" + FIRST_FIT]
    loop, told = loop_of(word, price="2,10")
    made = loop.propose(tree, context_of(), Random(0))
    assert made.tldr == "first fit" and made.parent == BASE
    assert made.score == pytest.approx(0.92, abs=0.02)
    assert "before 0.79" in made.message or "before 0.80" in made.message, made.message
    assert "kept until the hub has measured it" in made.message and told == [f"ant: {made.message}"]
    assert (tree / "solve.py").read_text().startswith("import json\ndef place")
    num_said = len(RENDERER.reply(said("assistant", "IDEA: first fit\n" + FIRST_FIT)))
    num_read = made.tokens - num_said
    assert num_read == len(RENDERER.open([said("user", writer.asked[0][0])]))
    assert made.money == pytest.approx((2 * num_read + 10 * num_said) / 1e6)


def test_what_cannot_be_read_is_told_to_the_model_once(served, tree):
    writer, word = served
    writer.replies = ["I would use first fit.", FIRST_FIT]
    loop, _ = loop_of(word)
    made = loop.propose(tree, context_of(), Random(0))
    assert made.score > 0.9
    first, second = writer.asked
    assert len(first) == 1 and len(second) == 3
    assert second[1] == "I would use first fit." and "the reply changes nothing" in second[2]


def test_a_reply_that_leaves_no_room_for_a_talk_about_it_is_simply_asked_for_again(served, tree):
    writer, word = served
    writer.replies = ["blah " * 800, FIRST_FIT]
    loop, _ = loop_of(word, context_tokens=4400, answer_tokens=1000)
    assert loop.propose(tree, context_of(), Random(0)).score > 0.9
    assert [len(talk) for talk in writer.asked] == [1, 1] and writer.asked[0] == writer.asked[1]


def test_a_model_that_never_writes_an_edit_costs_tokens_and_leaves_the_tree_alone(served, tree):
    writer, word = served
    writer.replies = ["words"] * 8
    before = read_tree(tree)
    loop, told = loop_of(word)
    loop.max_idle = 2
    for _ in range(2):
        made = loop.propose(tree, context_of(), Random(0))
        assert made.tokens > 100 and made.score is None and read_tree(tree) == before
    assert loop.propose(tree, context_of(), Random(0)) is None
    assert "without an edit" in told[-1] and len(writer.replies) == 4


def test_a_program_that_breaks_is_submitted_with_what_it_said_and_without_a_number(served, tree):
    writer, word = served
    writer.replies = ["IDEA: divide\nFILE: solve.py\n```\nprint(1 / 0)\n```"]
    loop, _ = loop_of(word)
    made = loop.propose(tree, context_of(), Random(0))
    assert made.score is None and "ZeroDivisionError" in made.message and made.tldr == "divide"
    assert (tree / "solve.py").read_text() == "print(1 / 0)\n"


def test_an_edit_outside_of_the_mutable_paths_never_reaches_the_tree(served, tree):
    writer, word = served
    attack = "FILE: eval/check.py\n```\nprint('---')\nprint('fill: 1.0')\n```"
    writer.replies = [attack, attack]
    before = read_tree(tree)
    loop, _ = loop_of(word)
    made = loop.propose(tree, context_of(), Random(0))
    assert read_tree(tree) == before and "may not be changed" in made.message


def test_the_same_seed_asks_the_same_question_and_the_model_sees_what_others_did(served, tree):
    writer, word = served
    writer.replies = [FIRST_FIT]
    run = {
        "id": "c" * 40,
        "agent_id": "bee",
        "tldr": "best fit",
        "verified_score": 0.95,
        "parent_id": BASE,
        "number": 2,
    }
    contents = {BASE: b"old\n", "c" * 40: b"new\n"}
    desk = Desk(lambda commit: None, lambda commit, path: contents.get(commit))
    loop, _ = loop_of(word)
    context = context_of(
        desk=desk, best=run, runs=[run], claims=[{"agent_id": "cat", "content": "triplets first"}],
        skills=[{"name": "sort", "description": "largest first", "code_snippet": "sorted(items)"}],
    )  # fmt: skip
    loop.propose(tree, context, Random(0))
    [[asked]] = writer.asked
    for words in (
        "best fit",
        "-old\n+new",
        "triplets first",
        "sorted(items)",
        "orders for you",
        "fill: 0.",
        "def main",
    ):
        assert words in asked, words


def test_an_own_try_that_waits_for_the_hub_is_built_upon_only_if_it_is_better_by_the_own_measure(served, tree):
    writer, word = served
    stood = []
    mine = {"id": "d" * 40, "agent_id": "ant", "verification_status": "pending", "score": 0.9, "valid": True}
    loop, _ = loop_of(word)
    for runs, parent in (
        ([mine], "d" * 40),
        ([{**mine, "score": 0.1}], BASE),
        ([{**mine, "agent_id": "bee"}], BASE),
        ([{**mine, "verification_status": "failed"}], BASE),
        ([{**mine, "score": math.nan}], BASE),
    ):
        writer.replies = ["no", "no"]
        desk = Desk(stood.append, lambda commit, path: None)
        assert loop.propose(tree, context_of(desk=desk, runs=runs), Random(0)).parent == parent
    assert stood == ["d" * 40]


def test_a_policy_that_reads_messages_alone_needs_no_server(tree):
    loop = EditLoop(Script(lambda prompt, rng: said("assistant", FIRST_FIT)), tell=lambda _: None)
    assert loop.propose(tree, context_of(), Random(0)).score > 0.9


def test_a_server_that_is_gone_is_no_idea_of_the_model(tree):
    loop, _ = loop_of("http://127.0.0.1:9/v1#w")
    loop.policy = type(loop.policy)(**{**vars_of(loop.policy), "max_tries": 1})
    with pytest.raises(InfrastructureError, match="gave no answer"):
        loop.propose(tree, context_of(), Random(0))


def vars_of(policy):
    return {name: value for name, value in vars(policy).items() if not name.startswith("_")}


@pytest.mark.slow
def test_nano_weights_are_an_agent_too_and_what_does_not_fit_is_said(tree):
    loop, _ = loop_of("nano")
    with pytest.raises(BadInput, match="do not fit into the model's context"):
        loop.propose(tree, context_of(), Random(0))
    loop.context_tokens = 1500
    loop.answer_tokens = 8
    prompt = write_prompt(
        Matter(context_of(), {"solve.py": "print(1)\n"}, OwnScore(0.5, "", "", 1.0)),
        lambda text: loop._fits((said("user", text),)),
    )
    assert "print(1)" in prompt and "SEARCH" in prompt and len(RENDERER.open([said("user", prompt)])) <= 1492


def test_the_prompt_drops_the_least_telling_parts_first():
    runs = [{"id": f"{i:040x}", "agent_id": "bee", "tldr": f"idea {i}", "number": i} for i in range(30)]
    context = context_of(runs=runs, feed=[{"agent_id": "bee", "content": "chatter"}])
    matter = Matter(context, {"solve.py": "print(1)\n"}, OwnScore(0.5, "", "", 1.0))
    lengths = []
    for most in (20000, 3300, 2500, 1300):
        prompt = write_prompt(matter, lambda text, most=most: len(text) <= most)
        lengths.append(len(prompt))
        assert "print(1)" in prompt and "SEARCH" in prompt
        assert ("chatter" in prompt) <= ("idea 29" in prompt) <= ("# Packing" in prompt)
    assert lengths == sorted(lengths, reverse=True) and len(set(lengths)) > 2


# ---------------------------------------------------------------- the own measure


@pytest.mark.parametrize(
    ("output", "value"),
    [
        ("---\nfill: 0.5\n", 0.5),
        ("fill: 0.9\n---\nfill: 0.1\nnote: x\nfill: 0.2\n", 0.2),
        ("---\nfill: 0.9\n---\n", None),
        ("fill: 0.9", None),
        ("---\nfill: nan", None),
        ("---\nfill: inf", None),
        ("---\nfill: words", None),
        ("---\nfull: 1", None),
        ("", None),
    ],
)
def test_the_number_is_the_finite_one_behind_the_last_dashes(output, value):
    assert read_score(output, "fill") == value


def test_links_of_a_tree_are_neither_read_nor_written_through(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("token")
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "solve.py").symlink_to(secret)
    (tree / "src").symlink_to(tmp_path)
    (tree / "real.py").write_text("x")
    assert read_tree(tree) == {"real.py": b"x"}
    write_files(tree, {"solve.py": b"mine"})
    assert secret.read_text() == "token" and (tree / "solve.py").read_text() == "mine"
    with pytest.raises(BadInput, match="a link or a file"):
        write_files(tree, {"src/secret": b"mine"})
    assert secret.read_text() == "token"


def test_an_evaluation_without_end_is_ended_and_reaches_nothing(tree, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside") / "secret"
    outside.write_text("sealed")
    (tree / "solve.py").write_text(f"print(open('{outside}').read())\n")
    measured = measure_tree(best(), tree, context_of().task, 20.0)
    assert measured.value is None and "FileNotFoundError" in measured.tail
    (tree / "solve.py").write_text("while True: pass\n")
    assert measure_tree(best(), tree, context_of().task, 1.0).why == "timed out"


@pytest.mark.parametrize(
    "fields", [{"price": "free"}, {"price": "-1"}, {"temperature": "hot"}, {"answer_tokens": 99999}]
)
def test_wrong_fields_are_refused(served, fields):
    with pytest.raises(BadInput):
        loop_of(served[1], **fields)
