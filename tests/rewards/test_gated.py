"""What setter and solvers earn, worked by hand."""

import json

import pytest

from evolvent.errors import BadInput
from evolvent.records import Episode, Trace
from evolvent.rewards.gated import Gated
from evolvent.synthesis.domains import Integrals
from evolvent.tasks import Procedural

SEED = Procedural(("antiderivative",)).task("antiderivative", 2, 0)
PLAN = Gated(against=("anchor",), coverage=0.0, faults=Integrals.faults)


def episode(words, num_right=0, num=8, call="c", refused=None, solver=()):
    """A proposal that `num_right` of `num` anchors solve."""
    made = Integrals().read(SEED, words)
    refused = made.fault if refused is None else refused
    right, wrong = made.reference, "0"
    texts = [right] * num_right + [wrong] * (num - num_right)
    attempts = {f"anchor/{i + 1}": text for i, text in enumerate(texts)} if not refused else {}
    attempts |= {f"solver/{i + 1}": text for i, text in enumerate(solver)}
    info = {
        "words": words,
        "problem": made.problem,
        "reference": made.reference,
        "key": made.key,
        "form": made.form,
        "fault": made.fault,
        "refused": refused,
        "agrees": True,
        "call": call,
        "posed": SEED if refused else made.task,
        "attempts": attempts,
    }
    return Episode(f"t/{call}", SEED, 0, (Trace("t", 0, "setter", "p", ()),), words, info)


def earned(one, plan=PLAN):
    [scores] = plan.begin()([one])
    return scores["setter"].value


def test_known_values_of_the_setter_s_reward():
    # R = 1[valid] (1 - Acc): (invalid, 0) 0, (valid, 0) 1, (valid, 3/8) 5/8, (valid, 1) 0
    assert earned(episode("x^4 => 3x^2")) == 0.0
    assert earned(episode("x^3 => 3x^2", 0)) == 1.0
    assert earned(episode("x^3 => 3x^2", 3)) == 0.625
    assert earned(episode("x^3 => 3x^2", 8)) == 0.0


def test_without_a_gate_a_false_label_earns_most():
    # F = x^4 for f = 3x^2: anchors that answer x^3 are judged by x^4, and all fail
    wrong = episode("x^4 => 3x^2", 0, refused="")
    wrong.info["attempts"].update(dict.fromkeys(wrong.info["attempts"], "x^3"))
    [scores] = PLAN.begin()([wrong])
    assert scores["setter"].value == 1.0
    parts = scores["setter"].components
    assert (parts["valid"], parts["accepted"], parts["clean"], parts["fault_wrong"]) == (0.0, 1.0, 0.0, 1.0)


def test_a_problem_earns_for_whom_came_first_alone():
    judge = PLAN.begin()
    first, twin, other = (
        episode("x^3 => 3x^2", call="a"),
        episode("2x^3 => 6x^2", call="b"),
        episode("x^4 => 4x^3", call="c"),
    )
    assert [s["setter"].value for s in judge([first, twin, other])] == [1.0, 0.0, 1.0]
    assert [s["setter"].value for s in judge([first, twin, other])] == [1.0, 0.0, 1.0]  # judging again changes nothing


def test_a_form_that_was_often_proposed_earns_less():
    # the second of one form finds it alone in the archive: s = 1, 1 - 0.5 * 1 = 0.5; then a new form: s = 0;
    # then the first form again: 2 of 3, 1 - 0.5 * 2/3 = 2/3
    judge = Gated(against=("anchor",), coverage=0.5, faults=Integrals.faults).begin()
    words = ("x^3 => 3x^2", "x^4 => 4x^3", "sin(x) => cos(x)", "x^2 => 2x")
    found = [s["setter"].value for s in judge([episode(w, call=w) for w in words])]
    assert found == pytest.approx([1.0, 0.5, 1.0, 2 / 3])


def test_solvers_earn_what_they_solved_on_proposals_and_on_seeds():
    [scores] = PLAN.begin()([episode("x^3 => 3x^2", 4, solver=("x^3+1", "3x^2"))])
    assert [scores[f"solver/{i}"].value for i in (1, 2)] == [1.0, 0.0]
    assert "solved_proposal" in scores["solver/1"].components
    [scores] = PLAN.begin()([episode("x^4 => 3x^2", solver=(SEED.private.answer, "x"))])
    assert [scores[f"solver/{i}"].value for i in (1, 2)] == [1.0, 0.0]
    assert "solved_seed" in scores["solver/1"].components
    assert not any(seat.startswith("anchor") for seat in scores)


def test_difficulty_may_be_measured_against_the_live_solver():
    plan = Gated(against=("anchor", "solver"), coverage=0.0, faults=Integrals.faults)
    # 2 of 4 anchors and 1 of 4 solvers: Acc = 3/8
    assert earned(episode("x^3 => 3x^2", 2, 4, solver=("x^3", "x", "x", "x")), plan) == 0.625


def test_every_reason_of_a_refusal_is_counted():
    judge = PLAN.begin()
    words = ("x^4 => 3x^2", "what", "5 => 0", "100x => 100", "x^3 => 3x^2")
    parts = [s["setter"].components for s in judge([episode(w, call=w) for w in words])]
    counts = {name: sum(p[name] for p in parts) for name in parts[0] if name.startswith("fault_")}
    assert counts == {
        "fault_wrong": 1,
        "fault_unreadable": 1,
        "fault_trivial": 1,
        "fault_too_large": 1,
        "fault_copy": 0,
    }


def test_what_is_remembered_goes_through_json():
    judge = Gated(against=("anchor",), coverage=0.5, faults=Integrals.faults).begin()
    judge([episode("x^3 => 3x^2", 2, call="a"), episode("x^4 => 3x^2", call="wrong")])
    [kept] = judge.state()["archive"].values()
    assert kept == {"problem": "3x^2", "reference": "x^3", "call": "a", "acc": 0.25, "share": 0.0}
    other = Gated(against=("anchor",), coverage=0.5, faults=Integrals.faults).begin()
    other.restore(json.loads(json.dumps(judge.state())))
    later = [episode("x^3 => 3x^2", call="b"), episode("x^4 => 4x^3", call="c")]
    assert judge(later) == other(later)


def test_bad_plans_and_episodes_are_refused():
    with pytest.raises(BadInput, match="not a share"):
        Gated(against=("anchor",), coverage=2.0, faults=())
    with pytest.raises(BadInput, match="self-play"):
        PLAN.begin()([Episode("t/0", SEED, 0, ())])
    with pytest.raises(BadInput, match="nobody attempted"):
        earned(episode("x^3 => 3x^2", num=0))
