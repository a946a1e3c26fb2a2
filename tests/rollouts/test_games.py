"""Games by hand: who speaks when, which tokens are whose, and what each role is credited with."""

from dataclasses import replace

import pytest

from evolvent.credit.across import MovingBaseline
from evolvent.credit.batch import assign
from evolvent.envs.games import FIRST, SECOND, Nim
from evolvent.recipes.spiral import coin, zero_sum
from evolvent.records import said
from evolvent.rewards import judge_episodes
from evolvent.rollouts.games import Against, Recite, at_random, duel, perfect
from evolvent.rollouts.play import Attempt, play
from evolvent.rollouts.seat import Budgets
from evolvent.tasks.positions import NimGames


def begun(heap, number=0):
    task = NimGames().task("nim", 1, number)
    return replace(task, prompt=(said("user", f"{heap} (train {number})"),))


def table(puppet, stage, moves, **changes):
    """Everybody says for a heap what `moves` says, words that do not end where that is None."""

    def speak(prompt):
        move = moves[prompt.messages[-1].text]
        return puppet.renderer.reply(said("assistant", move), ()) if move else tuple(b"mmmmmmmm")

    puppet.speak = speak
    made = {"workflow": duel, "world": Nim(3), "seats": {FIRST: "agent", SECOND: "agent"}}
    return replace(stage(puppet), budgets=Budgets(4, 200, 100), **(made | changes))


def play_one(puppet, stage, heap, moves, **changes):
    [episode] = judge_episodes(zero_sum, play([Attempt(begun(heap), 0)], table(puppet, stage, moves, **changes)))
    return episode


def words(trace):
    return [(turn.message.role, turn.message.text) for turn in trace.turns]


def test_each_seat_hears_its_own_turns_and_is_trained_on_its_own_moves(puppet, stage):
    episode = play_one(puppet, stage, 6, {"6": "a2", "4": "a1", "3": "a3"})
    first, second = episode.traces
    assert words(first) == [("user", "6"), ("assistant", "a2"), ("user", "3"), ("assistant", "a3")]
    assert words(second) == [("user", "4"), ("assistant", "a1")]
    for trace in episode.traces:
        written = tuple(t for t, m in zip(trace.tokens, trace.mask, strict=True) if m)
        spoken = [puppet.renderer.reply(t.message, ()) for t in trace.turns if t.message.role == "assistant"]
        assert written == tuple(t for tokens in spoken for t in tokens)
    assert (first.score.value, second.score.value) == (1.0, -1.0)
    assert (episode.answer, episode.info["winner"]) == ("first won", FIRST)


def test_a_turn_without_an_end_loses_and_the_other_keeps_its_win(puppet, stage):
    episode = play_one(puppet, stage, 6, {"6": "a1", "5": None})
    first, second = episode.traces
    assert episode.info == {"winner": FIRST, "broke_rules": True, "played": [FIRST, SECOND]}
    assert second.truncation == "turn"
    assert (first.score.value, second.score.value) == (1.0, -1.0)
    assert first.score.components["broke_rules"] == 1.0


def test_the_credit_of_a_role_by_hand(puppet, stage):
    """Three games: the first seat wins from 2 and 3, and loses from 4, so its mean is 1/3, and the other's -1/3."""
    moves = {"2": "a2", "3": "a3", "4": "a1"}
    attempts = [Attempt(begun(heap, heap), 0) for heap in (2, 3, 4)]
    episodes = judge_episodes(zero_sum, play(attempts, table(puppet, stage, moves)))
    advantage = MovingBaseline(decay=0.95).begin()
    credits = assign(episodes, "agent", advantage).credits
    first = [credits[e.episode_id, FIRST] for e in episodes]
    second = [credits[e.episode_id, SECOND] for e in episodes]
    assert (first, second) == ([1, 1, -1], [-1, -1, 1])  # the baselines were 0 when they were read
    assert advantage.baselines == pytest.approx({FIRST: 0.05 / 3, SECOND: -0.05 / 3})
    again = assign(episodes, "agent", advantage).credits
    assert again[episodes[0].episode_id, FIRST] == pytest.approx(1 - 0.05 / 3)
    assert again[episodes[0].episode_id, SECOND] == pytest.approx(-1 + 0.05 / 3)


def test_against_a_script_one_seat_is_judged(puppet, stage):
    moves = {str(heap): f"a{heap % 4 or 1}" for heap in range(1, 12)}  # the winning move where there is one
    stage_ = table(puppet, stage, moves, workflow=Against(at_random))
    episodes = judge_episodes(zero_sum, play([Attempt(begun(11, i), 0) for i in range(40)], stage_))
    assert {tuple(e.info["played"]) for e in episodes} == {(FIRST,), (SECOND,)}
    for episode in episodes:
        (ours,) = episode.info["played"]
        judged = {t.seat: t.score for t in episode.traces}
        assert [seat for seat, score in judged.items() if score is not None] == [ours]
        assert judged[ours].value == (1.0 if episode.info["winner"] == ours else -1.0)
        assert episode.answer == ("won" if episode.info["winner"] == ours else "lost")
        assert ours == SECOND or episode.info["winner"] == FIRST, "whoever begins at 11 and is perfect wins"


def test_whoever_plays_perfectly_beats_chance_from_a_won_position(puppet, stage):
    recited = replace(table(puppet, stage, {}), workflow=Recite(perfect))
    for heap in (5, 6, 7, 8):
        [episode] = play([Attempt(begun(heap), 0)], recited)
        assert episode.info["winner"] == (SECOND if heap == 8 else FIRST)
        assert all(turn.finish == "recited" for t in episode.traces for turn in t.turns if any(turn.mask))


def test_recited_games_differ_from_step_to_step_and_are_legal(puppet, stage):
    recited = replace(table(puppet, stage, {}), workflow=Recite())
    told = set()
    for step in range(8):
        [episode] = play([Attempt(begun(20), 0)], replace(recited, how=replace(recited.how, seed=step)))
        assert not episode.info["broke_rules"]
        told.add(tuple(turn.message.text for t in episode.traces for turn in t.turns))
    assert len(told) > 1


def test_the_lot_decides_as_many_games_for_either(puppet, stage):
    episodes = play([Attempt(begun(3, i), 0) for i in range(200)], table(puppet, stage, {"3": "a3"}))
    drawn = [scores[FIRST].value for scores in coin(episodes)]
    assert {e.info["winner"] for e in episodes} == {FIRST}
    assert 70 < sum(value == 1.0 for value in drawn) < 130
    assert all(s[FIRST].value == -s[SECOND].value for s in coin(episodes))
