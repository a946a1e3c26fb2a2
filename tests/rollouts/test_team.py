"""Teams at play: what reaches whom, who waits for whom, what is written down, and who falls silent."""

import asyncio
import time
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evolvent.codec import from_json, to_json
from evolvent.envs import Toolbox
from evolvent.envs.toolbox import Toolbox as Tools
from evolvent.errors import InfrastructureError
from evolvent.models import Renderer, build_tokenizer
from evolvent.records import Completion, Finish, Message, Outcome, Sampling, ToolCall, said
from evolvent.rollouts.graph import Graph, Round, chain, debate, mixture, round_of
from evolvent.rollouts.play import Attempt, Stage, play
from evolvent.rollouts.seat import Budgets
from evolvent.rollouts.talks import (
    Judged,
    MathChat,
    debate_twice,
    generate_and_verify,
    generate_verify_refine,
    propose_and_aggregate,
)
from evolvent.rollouts.team import Line, SaidBy, Teamwork, last_word, plurality, vote, vote_of_all
from evolvent.tasks.machines import Machines

TASK = Machines().task("machines", 1, 0)


@dataclass
class Speaker:
    """Says words of the test's choice, turn by turn, after a while, and keeps what it was asked."""

    words: object
    delay_s: float = 0.0
    asked: list = field(default_factory=list)
    said_at: list = field(default_factory=list)

    async def sample(self, prompts, how):
        made = []
        for prompt in prompts:
            text = self.words if isinstance(self.words, str) else self.words[len(self.asked) % len(self.words)]
            self.asked.append(prompt)
            await asyncio.sleep(self.delay_s)
            self.said_at.append(time.perf_counter())
            message = text if isinstance(text, Message) else said("assistant", text)
            call_id = f"call-{len(self.asked)}"
            made.append(Completion((), message.text, (), (), 0, Finish.STOP, call_id, message))
        return made


@dataclass
class Writes:
    """Says the same words as token ids, as many of them as there is room for."""

    text: str
    renderer: Renderer = field(default_factory=lambda: Renderer(build_tokenizer()))

    async def sample(self, prompts, how):
        return [self._one(prompt, how) for prompt in prompts]

    def _one(self, prompt, how):
        whole = self.renderer.reply(said("assistant", self.text))
        tokens = whole[: prompt.room(how)]
        finish, message = Finish.STOP if tokens == whole else Finish.LENGTH, self.renderer.parse(tokens)
        logprobs = (-1.0,) * len(tokens)
        return Completion(tokens, message.text, logprobs, logprobs, 0, finish, str(prompt.stream), message)


def played(workflow, speakers, *, world=None, budgets=None, patience_s=None, task=TASK):
    stage = Stage(
        workflow=workflow,
        world=world or Toolbox(()),
        policies=speakers,
        seats={name: name for name in speakers},
        how=Sampling(64),
        budgets=budgets or Budgets(64, 4096, 4096),
        patience_s=patience_s,
    )
    [episode] = play([Attempt(task, 0)], stage)
    return episode


def heard(speaker, number=-1):
    """All that a speaker was asked with at one of its turns."""
    return "\n".join(m.text for m in speaker.asked[number].messages)


def test_debaters_hear_the_others_and_the_last_round_votes():
    speakers = {f"debater{i}": Speaker([f"first {i}", "blue" if i < 3 else "red"]) for i in (1, 2, 3)}
    episode = played(Teamwork(debate(3, 2)), speakers)
    assert episode.answer == "blue"
    for i in (1, 2, 3):
        first, second = (heard(speakers[f"debater{i}"], n) for n in (0, 1))
        assert first == TASK.question
        assert all((f"first {k}" in second) for k in (1, 2, 3)), "a debater goes on with its own context"
        told = speakers[f"debater{i}"].asked[1].messages[-1].text
        assert f"first {i}" not in told, "nobody is told what it said itself"


def test_a_debater_that_forgets_hears_the_question_again_and_not_itself():
    speakers = {f"debater{i}": Speaker([f"first {i}", "x"]) for i in (1, 2)}
    played(Teamwork(debate(2, 2, remembers=False)), speakers)
    assert heard(speakers["debater1"], 1) == f"{TASK.question}\nfirst 2"


def test_at_most_five_others_are_heard_in_an_order_that_attempts_differ_in():
    speakers = {f"debater{i}": Speaker([f"w{i}", "x"]) for i in range(1, 9)}
    work = Teamwork(debate(8, 2, remembers=False))
    told = []
    for number in range(4):
        played(work, speakers, task=Machines().task("machines", 1, number))
        told.append(speakers["debater1"].asked[-1].messages[-1].text.split("\n"))
    assert [len(lines) for lines in told] == [5] * 4
    assert len({tuple(lines) for lines in told}) > 1, "the order is always the same"
    again = played(work, speakers)
    assert again.info == played(work, speakers).info, "the same attempt hears another order"


def test_a_chain_is_told_the_question_and_everything_before():
    speakers = {"generator": Speaker("47"), "verifier": Speaker("no"), "refiner": Speaker("48")}
    work = Teamwork(chain(*speakers), final=last_word, asks={"verifier": "right?", "refiner": "better?"})
    episode = played(work, speakers)
    assert episode.answer == "48"
    assert heard(speakers["verifier"]) == f"{TASK.question}\n47\nright?"
    lines = heard(speakers["refiner"]).split("\n")
    assert (lines[0], sorted(lines[1:3]), lines[3]) == (TASK.question, ["47", "no"], "better?")


def test_an_aggregator_has_the_last_word():
    speakers = {f"proposer{i}": Speaker(f"p{i}") for i in (1, 2)} | {"aggregator": Speaker("both")}
    assert played(Teamwork(mixture(2), final=last_word), speakers).answer == "both"
    assert set(heard(speakers["aggregator"]).split("\n")[1:]) == {"p1", "p2"}


@st.composite
def graphs(draw):
    """Any graph without a cycle: within a round only earlier seats of a drawn order are read."""
    size, num_rounds = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    bits, rounds = st.booleans(), []
    for _ in range(num_rounds):
        order = draw(st.permutations(range(size)))
        active = draw(st.sets(st.integers(0, size - 1), min_size=1))
        spatial = [[False] * size for _ in range(size)]
        for i in range(size):
            for j in range(size):
                may = i in active and j in active and order.index(i) < order.index(j)
                spatial[i][j] = i in active if i == j else may and draw(bits)
        temporal = [[draw(bits) for _ in range(size)] for _ in range(size)]
        rounds.append(Round(tuple(map(tuple, spatial)), tuple(map(tuple, temporal))))
    return Graph(tuple("abcd"[:size]), tuple(rounds))


@given(graphs())
def test_a_script_reads_exactly_what_the_masks_say(graph):
    script = graph.script()
    for number, step in enumerate(script):
        j, masks = graph.seats.index(step.seat), graph.rounds[step.round]
        assert masks.spatial[j][j], "a silent seat speaks"
        assert all(i < number for i in step.reads), "somebody is read before having spoken"
        wanted = set()
        for i, other in enumerate(graph.seats):
            if other == step.seat:
                continue
            now = [k for k, s in enumerate(script) if s.seat == other and s.round == step.round]
            before = [k for k, s in enumerate(script) if s.seat == other and s.round < step.round]
            wanted |= {*now} if masks.spatial[i][j] else set()
            wanted |= {before[-1]} if before and masks.temporal[i][j] else set()
        assert set(step.reads) == wanted
    assert len(script) == sum(r.spatial[i][i] for r in graph.rounds for i in range(len(graph.seats)))


@settings(max_examples=40, deadline=None)
@given(graphs())
def test_changing_what_one_says_changes_the_prompt_of_another_iff_the_mask_says_so(graph):
    """Only direct readers see it: whoever hears it second-hand hears words that did not change."""
    work = Teamwork(graph, most_heard=99)
    for changed, step in enumerate(graph.script()):
        mine = sum(s.seat == step.seat for s in graph.script()[:changed])  # which of its turns this is
        before, after = (
            {
                s: Speaker([f"{s}{n}{'!' * (other and s == step.seat and n == mine)}" for n in range(9)])
                for s in graph.seats
            }
            for other in (False, True)
        )
        for speakers in (before, after):
            played(work, speakers)
        count = dict.fromkeys(graph.seats, 0)
        kept: set[str] = set()  # seats whose context holds the changed words
        for number, one in enumerate(graph.script()):
            turn = count[one.seat]
            count[one.seat] += 1
            kept = kept if one.remembers else kept - {one.seat}
            reads = changed in one.reads
            differs = heard(before[one.seat], turn) != heard(after[one.seat], turn)
            assert differs == (reads or one.seat in kept), f"turn {number} of {one.seat}"
            kept = kept | {one.seat} if reads or number == changed else kept


def test_a_slow_teammate_holds_up_only_those_who_read_it():
    speakers = {"a": Speaker("a"), "b": Speaker("b", delay_s=0.3), "c": Speaker("c")}
    seats = tuple(speakers)
    both = round_of(seats, active=seats, before={"a": "c", "c": "a", "b": "a"})
    start = time.perf_counter()
    played(Teamwork(Graph(seats, (both,) * 3)), speakers, patience_s=0.0)
    end_of = {name: speaker.said_at[-1] - start for name, speaker in speakers.items()}
    assert len(speakers["a"].said_at) == len(speakers["b"].said_at) == 3
    assert max(end_of["a"], end_of["c"]) < speakers["b"].said_at[1] - start, "those who read nobody slow were held up"


def test_one_failing_seat_does_not_end_the_others(nano):
    """Each has room for one short turn: in the second round nobody can speak, and the episode still has an answer."""
    work = Teamwork(debate(2, 2))
    seats = {"debater1": "agent", "debater2": "agent"}
    stage = Stage(work, Toolbox(()), {"agent": nano}, seats, Sampling(6, seed=1), Budgets(6, 200, 6))
    episodes = play([Attempt(TASK, i) for i in range(4)], stage)
    for episode in episodes:
        lines = episode.info["transcript"]
        assert len(lines) == 4
        assert all(line["was_cut"] and not line["turns"] for line in lines[2:])
        assert all(trace.outcome.carries_reward for trace in episode.traces)
        assert {trace.truncation for trace in episode.traces} <= {"turn", "episode"}


def test_a_broken_teammate_breaks_its_own_episode_and_no_other():
    @dataclass
    class Breaks(Speaker):
        async def sample(self, prompts, how):
            if "t-1" in prompts[0].stream[0]:
                raise InfrastructureError("the line is dead")
            return await super().sample(prompts, how)

    speakers = {"debater1": Breaks("a"), "debater2": Speaker("b")}
    stage = Stage(
        Teamwork(debate(2, 2)),
        Toolbox(()),
        speakers,
        {name: name for name in speakers},
        Sampling(64),
        Budgets(64, 999, 99),
    )
    episodes = play([Attempt(replace(TASK, task_id=f"t-{i}"), 0) for i in range(3)], stage)
    assert [e.outcome for e in episodes] == [Outcome.OK, Outcome.INFRASTRUCTURE_FAILED, Outcome.OK]
    assert "the line is dead" in episodes[1].traces[0].fault.why


def test_a_talkative_seat_falls_silent_and_the_others_finish():
    speakers = {"debater1": Writes("on and on and on"), "debater2": Writes("yes")}
    episode = played(Teamwork(debate(2, 2)), speakers, budgets=Budgets(8, 512, 64))
    assert episode.answer in ("yes", "on and o")
    lines = [Line(**line) for line in episode.info["transcript"]]
    assert [line.was_cut for line in lines] == [True, False, True, False]
    assert [line.words for line in lines] == ["on and o", "yes"] * 2
    assert episode.traces[1].outcome == Outcome.OK


def test_minutes_point_at_the_words_in_the_traces_and_go_through_json(nano):
    work = Teamwork(debate(2, 2))
    seats = {"debater1": "agent", "debater2": "agent"}
    stage = Stage(work, Toolbox(()), {"agent": nano}, seats, Sampling(6, seed=1), Budgets(6, 200, 60))
    [episode] = play([Attempt(TASK, 0)], stage)
    traces = {trace.seat: trace for trace in episode.traces}
    lines = episode.info["transcript"]
    assert [(line["seat"], line["round"], line["depth"], line["heard"]) for line in lines] == [
        ("debater1", 0, 0, ()),
        ("debater2", 0, 0, ()),
        ("debater1", 1, 1, (1,)),
        ("debater2", 1, 1, (0,)),
    ]
    for line in lines:
        [turn] = line["turns"]
        assert traces[line["seat"]].turns[turn].message.text.strip() == line["words"]
        assert any(traces[line["seat"]].turns[turn].mask)
    assert from_json(to_json(episode)) == episode


@pytest.mark.parametrize(
    ("plain", "graph", "final", "seats"),
    [
        (debate_twice, debate(3, 2), vote, ["debater1", "debater2", "debater3"]),
        (propose_and_aggregate, mixture(2), last_word, ["proposer1", "proposer2", "aggregator"]),
        (
            generate_verify_refine,
            chain("generator", "verifier", "refiner"),
            last_word,
            ["generator", "verifier", "refiner"],
        ),
        (generate_and_verify, chain("generator", "verifier"), SaidBy("generator"), ["generator", "verifier"]),
    ],
)
def test_a_plain_function_keeps_the_minutes_of_the_graph(plain, graph, final, seats):
    def speakers():
        return {seat: Speaker([f"{seat} {n}" for n in (1, 2)]) for seat in seats}

    by_hand, by_graph = (played(work, speakers()) for work in (plain, Teamwork(graph, final)))
    assert by_hand.answer == by_graph.answer

    def kept(episode):
        return [(x["seat"], x["depth"], x["words"], sorted(x["heard"])) for x in episode.info["transcript"]]

    assert kept(by_hand) == kept(by_graph)


def test_math_chat_hands_the_coder_what_its_tool_says_cut_and_the_refiner_the_last_of_it():
    def ruler(length: int) -> str:
        """A long answer."""
        return "x" * length

    call = Message("assistant", (ToolCall("ruler", {"length": 900}),))
    speakers = {"solver": Speaker("think"), "agent": Speaker([call, "coded"]), "refiner": Speaker("done")}
    episode = played(MathChat(), speakers, world=Tools((ruler,), max_bytes=4096))
    assert episode.answer == "done"
    assert [len(text) for text in episode.info["shown"]] == [512]
    assert speakers["agent"].asked[1].messages[-1].text == "x" * 512
    told = heard(speakers["refiner"])
    assert all(words in told for words in (TASK.question, "think", "coded", "x" * 512))
    lines = episode.info["transcript"]
    assert [line["seat"] for line in lines] == ["solver", "agent", "refiner"]
    assert len(lines[1]["turns"]) == 2, "both turns of the coder belong to its line"


def test_a_coder_that_only_calls_is_stopped():
    def one() -> str:
        """Says one."""
        return "1"

    call = Message("assistant", (ToolCall("one", {}),))
    speakers = {"solver": Speaker("think"), "agent": Speaker([call]), "refiner": Speaker("done")}
    assert played(MathChat(max_calls=2), speakers, world=Tools((one,))).answer == "done"
    assert len(speakers["agent"].asked) == 3


def test_the_answer_that_is_judged_is_not_what_the_judge_says():
    speakers = {"agent": Speaker("47"), "judge": Speaker("8 out of 10")}
    episode = played(Judged(), speakers)
    assert episode.answer == "47"
    assert heard(speakers["judge"]).split("\n")[1] == "47"


def test_votes():
    lines = [Line("a", (), 0, 0, "x"), Line("b", (), 0, 0, "x"), Line("a", (), 1, 1, "y"), Line("b", (), 1, 1, "z")]
    assert (vote(lines), vote_of_all(lines), last_word(lines), SaidBy("a")(lines)) == ("y", "x", "z", "y")
    assert SaidBy("nobody")(lines) == ""
    assert plurality(["", "b  c", "b c", "a"]) == "b c"
    assert plurality(["", " "]) == ""


def test_a_team_goes_through_json():
    work = Teamwork(mixture(3), last_word, {"aggregator": "sum up"})
    assert from_json(to_json(work)) == work
    assert replace(work, final=SaidBy("aggregator")) == from_json(to_json(replace(work, final=SaidBy("aggregator"))))
