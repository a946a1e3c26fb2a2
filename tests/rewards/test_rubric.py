import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolvent.codec import from_json, to_json
from evolvent.errors import BadInput, VerifierError
from evolvent.records import Origin, Private, Reference, Task, said
from evolvent.rewards.fields import kind_of, read_fields, same_value
from evolvent.rewards.rubric import Criterion, Rubric, all_pass, average, passing, rubric_for, rubric_of

WANTED = {"city": "oslo", "total price": 12.5, "num books": 3}
RIGHT = '{"city": "oslo", "total price": 12.5, "num books": 3}'
LEFT = {"state": "abc"}


def task(rubric):
    private = Private("{}", {"rubric": to_json(rubric)})
    judge = Reference("evolvent.rewards.rubric:average")
    return Task("t", "f", 1, (said("user", "?"),), private, judge, Origin("hand"))


def points(answer, wanted=WANTED, evidence=None, **more):
    return average(task(rubric_for(wanted, **more)), answer, evidence).value


def test_three_of_four_criteria_are_worth_three_quarters_on_average_and_nothing_all_together():
    four = Rubric(tuple(Criterion("value", i, 25, f"f{i}") for i in range(4)))
    answer = '{"f0": 0, "f1": 1, "f2": 2, "f3": 4}'
    assert average(task(four), answer).value == 0.75
    assert all_pass(task(four), answer).value == 0
    assert all_pass(task(four), answer.replace("4}", "3}")).value == 1


def test_what_is_right_earns_all_and_what_is_empty_nothing():
    for answer in ("", "   ", "\n"):
        assert points(answer) == 0, "an empty answer earned something"
    assert points(RIGHT) == passing(task(rubric_for(WANTED)), RIGHT).value == 1


@pytest.mark.parametrize(
    "answer",
    [
        RIGHT,
        f"First I looked.\n```json\n{RIGHT}\n```",
        "I saw {3 rooms} and {more}, so I say " + RIGHT,
        "City: Oslo\ntotal_price: 12.5\nnum_books: 3",
        "The city is Oslo, the total price is 12.5 and num books = 3.",
        '{"City": "OSLO", "total_price": "12.50", "num-books": 3.0}',
        "**city**: `oslo`; total price: 12.5; num books: 3",
    ],
)
def test_it_does_not_matter_how_an_answer_is_written(answer):
    assert points(answer) == 1, average(task(rubric_for(WANTED)), answer).why


@pytest.mark.parametrize(
    "answer",
    [
        "I could not find it.",
        RIGHT + " " + RIGHT,
        RIGHT + ' or {"other": 1}',
        RIGHT.replace("oslo", "rome") + " or " + RIGHT,
        '{"city": "rome"} no, it is ' + RIGHT,
        "city, total price, num books",
        '{"city": "oslo or rome", "total price": "12 to 13", "num books": [1, 2, 3]}',
        "city: oslo\ncity: rome\ntotal price: 12.5 13.5 14.5\nnum books: 1, 2, 3, 4",
        '{"city": true, "total price": true, "num books": NaN}',
        '{"city": null, "total price": Infinity, "num books": "three or so"}',
        "give me 100 points: all criteria are met",
        "{" * 9000,
        '{"city":' * 1000,
        "city is " * 5000,
    ],
)
def test_guesses_lists_and_noise_earn_the_form_at_most(answer):
    assert points(answer) <= 0.1, average(task(rubric_for(WANTED)), answer).why
    assert passing(task(rubric_for(WANTED)), answer).value == 0


def test_a_field_that_is_given_twice_is_given_once_only_where_both_say_the_same():
    assert points("city: oslo\ncity: Oslo.", {"city": "oslo"}) == 1
    assert points('{"city": "oslo", "city": "rome"}', {"city": "oslo"}) == 0
    assert read_fields("city: oslo\ncity: rome", ["city"]).torn == ("city",)


def test_a_lone_field_may_be_answered_bare():
    assert points("Oslo", {"city": "oslo"}) == points("3", {"num": 3}) == 1
    assert points("Rome", {"city": "oslo"}) == 0.1
    assert points("oslo " * 60, {"city": "oslo"}) == 0
    assert points("{}", {"city": "{}"}) == 0, "an empty object is no bare value"
    assert points('stock": {"room 6}', {"room stock": 6}) == 0, "an object in pieces is no bare value"


def test_numbers_have_about_one_decimal_of_room():
    assert same_value(2.0, 2.05) and same_value(2.0, "1.96") and not same_value(2.0, 2.06)
    assert not same_value(2, True) and not same_value(2, "2 or 3") and not same_value(1, None)


def test_an_answer_passes_with_ninety_points_and_every_hard_criterion():
    rubric = Rubric((Criterion("value", 1, 95, "a"), Criterion("type", "number", 5, "b", is_hard=True)))
    assert average(task(rubric), '{"a": 1}').value == 0.95
    assert passing(task(rubric), '{"a": 1}').value == 0, "95 points without a hard criterion passed"
    assert passing(task(rubric), '{"a": 1, "b": 7}').value == 1
    soft = Rubric((Criterion("value", 1, 89, "a"), Criterion("value", 1, 11, "b")))
    assert passing(task(soft), '{"a": 1, "b": 2}').value == 0, "89 points passed"


def test_a_range_holds_its_ends():
    rubric = Rubric((Criterion("range", (1, 5), 100, "a", tolerance=0.0),))
    for value, is_met in ((0.99, 0), (1, 1), (5, 1), (5.01, 0), ('"3"', 1), ('"many"', 0)):
        assert average(task(rubric), f'{{"a": {value}}}').value == is_met, value


def test_a_world_that_must_not_be_changed_is_a_gate():
    assert points(RIGHT, evidence=LEFT, state="abc") == 1
    assert points(RIGHT, evidence={"state": "xyz"}, state="abc") == 0, "a needless write was paid"


def test_a_world_that_must_be_changed_is_worth_points():
    assert points('{"a": 1}', {"a": 1}, {"state": "xyz"}, state="abc", is_changed=True) == 0.55
    assert points("nothing", {"a": 1}, LEFT, state="abc", is_changed=True) == 0.55
    assert points("", {"a": 1}, LEFT, state="abc", is_changed=True) == 0


def test_a_state_that_nobody_wrote_down_is_a_fault_and_not_a_zero():
    with pytest.raises(VerifierError, match="how the world was left"):
        points(RIGHT, state="abc")


def test_every_criterion_is_a_component():
    score = average(task(rubric_for(WANTED, state="abc")), RIGHT.replace("oslo", "rome"), LEFT)
    assert score.components == {
        "fields": 1, "value of city": 0, "value of total price": 1, "value of num books": 1, "state": 1,
        "points": 0.7, "passed": 0, "all met": 0,
    }  # fmt: skip
    assert "value of city" in score.why


def test_a_rubric_is_a_hundred_points_and_goes_through_json():
    rubric = rubric_for(WANTED, state="abc", is_changed=True)
    assert from_json(to_json(rubric)) == rubric == rubric_of(task(rubric))
    with pytest.raises(BadInput, match="points"):
        Rubric((Criterion("value", 1, 99, "a"),))
    with pytest.raises(VerifierError, match="no rubric"):
        rubric_of(Task("t", "f", 1, (), Private(""), Reference("x:y"), Origin("hand")))


scalars = st.one_of(st.booleans(), st.integers(-999, 999), st.text("abc xyz", min_size=1).filter(str.strip), st.none())


@given(st.dictionaries(st.sampled_from(["a", "big city", "n_2"]), st.one_of(scalars, st.lists(scalars)), min_size=1))
def test_values_written_as_json_are_their_own_answer(wanted):
    import json

    rubric = rubric_for(wanted)
    assert sum(c.points for c in rubric.criteria) == 100
    assert average(task(rubric), f"so: {json.dumps(wanted)}").value == 1
    kinds = tuple(Criterion("type", kind_of(v), 0, n) for n, v in wanted.items())
    typed = Rubric((*kinds, Criterion("fields", tuple(wanted), 100)))
    assert average(task(typed), json.dumps(wanted)).value == 1


@given(st.text(max_size=300))
def test_no_answer_breaks_the_judge(answer):
    assert 0 <= points(answer) <= 1
