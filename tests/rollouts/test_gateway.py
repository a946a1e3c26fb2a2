"""Sessions over a seat: requests that bring their whole conversation become one trace of sampled tokens."""

import asyncio
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evolvent.errors import BadInput
from evolvent.models import Renderer, build_tokenizer
from evolvent.policies.wire import message_to_wire, messages_from_wire, messages_to_wire
from evolvent.records import Finish, Message, Outcome, Tool, ToolCall, ToolResult, said
from evolvent.rollouts.beginnings import form_of
from evolvent.rollouts.gateway import Asked, Lesson, Session
from evolvent.rollouts.play import play
from evolvent.rollouts.seat import Budgets
from evolvent.rollouts.workflows import Answer
from evolvent.training import gates

CALC = Tool("calc", "Computes.", {"type": "object", "properties": {"expression": {"type": "string"}}})
USER = said("user", "1+1?")
RENDERER = Renderer(build_tokenizer())


def plays(script, made=None):
    """A workflow that lets a script speak through a session, and keeps the session where it is asked to."""

    async def workflow(task, team, world):
        session = Session(team["agent"])
        if made is not None:
            made.append(session)
        try:
            words = await script(session)
        finally:
            await session.close()
        return Answer(words or "done", {"notes": list(session.notes)})

    return workflow


def one(stage, policy, script, attempts, **changes):
    """The session and the episode of one attempt."""
    made = []
    [episode] = play(attempts(1), stage(policy, workflow=plays(script, made), **changes))
    return made[0], episode


def contexts(trace):
    found = []
    for turn in trace.turns:
        if turn.starts_context or not found:
            found.append(())
        found[-1] += turn.tokens
    return found


def as_it_comes_back(message, place):
    """What a client sends back of a reply: through the wire and out again."""
    history = [{"role": "user", "content": "x"}, message_to_wire(message, f"call_{place}", raw_calls=True)]
    history += [{"role": "tool", "tool_call_id": c["id"], "content": "y"} for c in history[1].get("tool_calls", ())]
    return messages_from_wire(history)[1]


def test_a_later_request_extends_the_recorded_ids_and_makes_none_from_words(stage, puppet, attempts):
    async def script(session):
        first = await session.answer(Asked((USER,), (CALC,)))
        back = as_it_comes_back(first.messages[0], 0)
        assert back.calls[0].arguments == {"expression": "1+1"}
        history = (USER, back, Message("tool", (ToolResult("calc", "2"),)))
        second = await session.answer(Asked(history, (CALC,)))
        assert second.prompt_ids[: len(first.prompt_ids)] == first.prompt_ids
        assert (
            second.prompt_ids[len(first.prompt_ids) :][: len(first.completions[0].tokens)]
            == first.completions[0].tokens
        )
        return second.messages[0].text

    session, episode = one(stage, puppet, script, attempts)
    assert episode.answer == "2" and len(contexts(episode.traces[0])) == 1 and not session.notes
    assert [c.finish for c in session.calls] == ["tool_calls", "stop"] and session.num_contexts == 1
    gates.check_masks([episode])
    gates.check_round_trip([episode], {"agent": puppet})


def test_another_beginning_starts_a_context_of_its_own_and_the_note_shows_the_first_difference(stage, puppet, attempts):
    async def script(session):
        first = await session.answer(Asked((USER,)))
        await session.answer(Asked((USER, said("assistant", "my own words"), said("user", "2+2?"))))
        # the chain that was recorded first is still there to go on with
        await session.answer(Asked((USER, first.messages[0], said("user", "3+3?"))))

    session, episode = one(stage, puppet, script, attempts)
    assert len(session.notes) == 1
    head, minus, plus = session.notes[0].splitlines()
    assert "message 1 differs" in head and minus.startswith('- ["assistant"') and "my own words" in plus
    assert len(contexts(episode.traces[0])) == 3  # going back to the first chain is a context of its own as well
    third = contexts(episode.traces[0])[2]
    assert third[: len(contexts(episode.traces[0])[0])] == contexts(episode.traces[0])[0]
    assert episode.info["notes"] == session.notes
    gates.check_masks([episode])


def test_other_tools_are_another_context(stage, puppet, attempts):
    async def script(session):
        first = await session.answer(Asked((USER,), (CALC,)))
        await session.answer(Asked((USER, first.messages[0], said("user", "2?")), (replace(CALC, name="sum"),)))

    session, episode = one(stage, puppet, script, attempts)
    assert "the tools differ" in session.notes[0] and len(contexts(episode.traces[0])) == 2


def test_white_space_around_words_and_the_spelling_of_arguments_part_nothing(stage, puppet, attempts):
    async def script(session):
        first = await session.answer(Asked((USER,), (CALC,)))
        call = first.messages[0].calls[0]
        back = Message("assistant", (ToolCall(call.name, dict(call.arguments), raw='{ "expression" :"1+1"}'),))
        await session.answer(
            Asked((said("user", " 1+1?\n"), back, Message("tool", (ToolResult("calc", "2 "),))), (CALC,))
        )

    session, episode = one(stage, puppet, script, attempts)
    assert not session.notes and len(contexts(episode.traces[0])) == 1


def test_several_answers_to_one_request_are_branches_from_the_same_place(stage, nano, attempts):
    async def script(session):
        both = await session.answer(Asked((USER,), max_tokens=6, num=3))
        assert len({c.tokens for c in both.completions}) > 1
        await session.answer(Asked((USER, both.messages[1], said("user", "on")), max_tokens=6))
        return "x"

    session, episode = one(stage, nano, script, attempts)
    found = contexts(episode.traces[0])
    prompt = len(session.calls) and session.calls[0].prompt_tokens
    assert len(found) == 4 and len({c[:prompt] for c in found}) == 1
    assert found[3][: len(found[1])] == found[1]
    assert len({c.call_id for c in session.calls}) == 4
    gates.check_masks([episode])


def test_requests_at_the_same_time_never_mix(stage, puppet, attempts):
    async def script(session):
        asked = [Asked((said("user", f"{i}+{i}?"),)) for i in range(5)]
        answers = await asyncio.gather(*(session.answer(one) for one in asked))
        renderer = puppet.renderer
        for one, answer in zip(asked, answers, strict=True):
            assert answer.prompt_ids == renderer.open(one.messages)
        return "x"

    session, episode = one(stage, puppet, script, attempts, budgets=Budgets(40, 250, 1000))
    assert len(contexts(episode.traces[0])) == 5 and len(session.calls) == 5


def test_a_call_whose_client_goes_away_leaves_nothing(stage, puppet, attempts):
    async def script(session):
        first = asyncio.ensure_future(session.answer(Asked((USER,), (CALC,))))
        while not session.seat.turns:
            await asyncio.sleep(0)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        again = await session.answer(Asked((USER,), (CALC,)), is_retry=True)
        return again.messages[0].calls[0].raw

    session, episode = one(stage, puppet, script, attempts)
    assert len(session.calls) == 1 and [t.message.role for t in episode.traces[0].turns] == ["user", "assistant"]
    kept = [t.call_id for t in episode.traces[0].turns if t.call_id]
    assert kept == [c.call_id for c in session.calls]


def test_a_retry_of_a_call_under_way_or_done_gets_its_answer(stage, nano, attempts):
    async def script(session):
        asked = Asked((USER,), max_tokens=8)
        first = asyncio.ensure_future(session.answer(asked))
        await asyncio.sleep(0)
        second = await session.answer(asked, is_retry=True)
        assert (await first) is second
        assert (await session.answer(asked, is_retry=True)) is second
        third = await session.answer(asked)  # asked once more on purpose, as who takes a vote does
        assert third.completions[0].call_id != second.completions[0].call_id
        return "x"

    session, episode = one(stage, nano, script, attempts)
    assert len(session.calls) == 2 and len(contexts(episode.traces[0])) == 2


def test_the_end_of_a_session_drops_what_is_under_way(stage, puppet, attempts):
    async def script(session):
        under_way = asyncio.ensure_future(session.answer(Asked((USER,))))
        while not session.seat.turns:
            await asyncio.sleep(0)
        await session.close()
        with pytest.raises(asyncio.CancelledError):
            await under_way
        with pytest.raises(BadInput, match="over"):
            await session.answer(Asked((USER,)))
        return "x"

    session, episode = one(stage, puppet, script, attempts)
    assert not episode.traces[0].turns and not session.calls


def test_a_limit_of_the_request_or_of_a_turn_ends_the_reply_and_not_the_episode(stage, nano, attempts):
    async def script(session):
        short = await session.answer(Asked((USER,), max_tokens=2))
        assert len(short.completions[0].tokens) <= 2
        long = await session.answer(Asked((USER,), max_tokens=1000))
        assert len(long.completions[0].tokens) <= 5
        return "answered"

    session, episode = one(stage, nano, script, attempts, budgets=Budgets(5, 250, 40))
    assert episode.outcome == Outcome.OK and len(session.calls) == 2


def test_where_a_budget_leaves_no_room_the_request_is_refused_and_the_trace_says_why(stage, nano, attempts):
    async def script(session):
        for _ in range(20):
            await session.answer(Asked((USER,)))

    async def gives_up(session):
        try:
            await script(session)
        except BadInput as error:
            assert "the episode budget is spent" in str(error)
        return "x"

    session, episode = one(stage, nano, gives_up, attempts, budgets=Budgets(5, 250, 12))
    assert episode.traces[0].truncation == "episode" and session.fault is None
    assert sum(len(t.sampled_logprobs) for t in episode.traces[0].turns) == sum(
        c.completion_tokens for c in session.calls
    )
    assert episode.traces[0].turns[-1].message.role == "assistant", "what was refused is not in the record"


def test_stop_strings_are_kept_in_the_record_and_not_shown(stage, puppet, attempts):
    puppet.speak = lambda prompt: (
        puppet.renderer.plain("one. two")[:4]
        if len(prompt.messages) == 1
        else puppet.renderer.reply(said("assistant", "b"))
    )

    async def script(session):
        first = await session.answer(Asked((USER,), stops=(".",)))
        assert first.messages[0].text == "one" and first.completions[0].finish == Finish.STOP
        second = await session.answer(Asked((USER, said("assistant", "one"), said("user", "on"))))
        return second.messages[0].text

    session, episode = one(stage, puppet, script, attempts)
    assert not session.notes and len(contexts(episode.traces[0])) == 1
    assert "one." in puppet.renderer.text(episode.traces[0].tokens)


def test_a_conversation_that_ends_with_the_assistants_words_is_refused(stage, puppet, attempts):
    async def script(session):
        with pytest.raises(BadInput, match="own words"):
            await session.answer(Asked((USER, said("assistant", "the answer is"))))
        return "x"

    _, episode = one(stage, puppet, script, attempts)
    assert not episode.traces[0].turns


def test_a_lesson_recites_the_worked_solution_inside_the_agents_own_prompts(stage, puppet, attempts):
    solution = (Message("assistant", (ToolCall("calc", {"expression": "1+1"}),)), said("assistant", "2"))
    system = said("system", "be brief")

    async def with_tools(task, team, world):
        session = Session(team["agent"], Lesson(solution))
        first = await session.answer(Asked((system, USER), (CALC,)))
        assert first.completions[0].finish == Finish.CALL
        history = (system, USER, first.messages[0], Message("tool", (ToolResult("calc", "2"),)))
        return Answer((await session.answer(Asked(history, (CALC,)))).messages[0].text)

    async def without(task, team, world):
        session = Session(team["agent"], Lesson(solution))
        return Answer((await session.answer(Asked((system, USER)))).messages[0].text)

    for workflow, spoken in ((with_tools, 2), (without, 1)):
        [episode] = play(attempts(1), stage(puppet, workflow=workflow))
        turns = [t for t in episode.traces[0].turns if t.message.role == "assistant"]
        assert episode.answer == "2" and len(turns) == spoken and all(t.finish == "recited" for t in turns)
        assert episode.traces[0].turns[0].message == system
    assert not puppet.made


@given(st.lists(st.integers(0, 264), max_size=14), st.sampled_from([(), (CALC,), (CALC, replace(CALC, name="b"))]))
@settings(max_examples=100, deadline=None)
def test_whatever_tokens_a_policy_writes_their_message_is_known_again_when_it_comes_back(tokens, tools):
    message = RENDERER.parse(tokens, tools)
    assert form_of(as_it_comes_back(message, 0)) == form_of(message)


def test_what_the_wire_makes_of_any_reply_comes_back_as_the_same_place(stage, nano, attempts):
    """Random weights write all kinds of things: broken calls, half characters, white space."""

    async def script(session):
        history = (USER,)
        for num in range(6):
            said_ = await session.answer(Asked(history, (CALC,), max_tokens=12))
            wire = messages_to_wire(history)
            wire.append(message_to_wire(said_.messages[0], f"call_s_{num}", raw_calls=True))
            results = [
                {"role": "tool", "tool_call_id": c["id"], "content": "ok"} for c in wire[-1].get("tool_calls", ())
            ]
            history = messages_from_wire([*wire, *(results or [{"role": "user", "content": "go on"}])])
        return "x"

    made = []
    budgets = Budgets(12, 250, 120)
    played = play(attempts(8), stage(nano, workflow=plays(script, made), budgets=budgets))
    assert all(e.outcome == Outcome.OK for e in played)
    assert not [note for session in made for note in session.notes]
    assert all(len(contexts(e.traces[0])) == 1 for e in played)
