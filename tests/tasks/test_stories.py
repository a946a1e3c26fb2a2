from random import Random

from evolvent.codec import from_json, to_json
from evolvent.rewards import exact
from evolvent.tasks import stories
from evolvent.tasks.source import Source
from evolvent.tasks.stories import Stories, check, kept, read, write


def test_a_story_keeps_the_plan_it_was_written_from() -> None:
    for split in ("train", "test"):
        for index in range(300):
            story = write(0, split, index)
            assert read(story.text) == story.plan
            assert kept(story.plan, story.text) == 1.0


def test_the_words_of_a_plan_are_none_of_its_story() -> None:
    for slot, choices in stories.SLOTS.items():
        for choice, ways in choices.items():
            assert all(choice not in way and slot not in way for way in ways)
    told = [way for choices in stories.SLOTS.values() for ways in choices.values() for way in ways if way]
    assert len(set(told)) == len(told) == 40
    assert not any(a in b for a in told for b in told if a != b)


def test_what_is_told_twice_or_not_at_all_is_not_kept() -> None:
    story = write(0, "train", 0)
    assert kept(story.plan, "") == 0.0
    both = " ".join(way for ways in stories.SLOTS["place"].values() for way in ways)
    assert read(story.text + both)[0] == ""
    assert kept(story.plan, story.text + both) == 0.8  # four of five; the order still stands


def test_the_end_told_first_is_the_other_order() -> None:
    place, twist = stories.SLOTS["place"]["sea"][0], stories.SLOTS["twist"]["gold"][0]
    assert read(f"{place}. {twist}.")[4] == "order forward"
    assert read(f"{twist}. {place}.")[4] == "order backward"


def test_a_check_gives_the_share_of_the_plan() -> None:
    task = Stories().task("stories", 1, 0, "test")
    assert check(task, task.private.answer).value == 1.0
    assert check(task, "nothing").value == 0.0
    assert exact(task, task.private.answer).value == 1.0


def test_held_out_stories_share_no_question_with_training_and_show_the_true_plan() -> None:
    source = Stories(planner=stories.rough_plan)
    assert isinstance(source, Source)
    train = {source.task("stories", 1, i).question.split(" Plan")[0] for i in range(400)}
    test = [source.task("stories", 1, i, "test") for i in range(400)]
    assert not train & {t.question.split(" Plan")[0] for t in test}
    assert all(t.question.endswith(f"Plan: {', '.join(t.private.data['plan'])}.") for t in test)


def test_a_source_is_pure_and_survives_json() -> None:
    source = Stories(planner=stories.half_planned, seed=3, first=7)
    assert from_json(to_json(source)) == source
    assert source.task("stories", 1, 5) == Stories(planner=stories.half_planned, seed=3, first=7).task("stories", 1, 5)
    assert source.task("stories", 1, 5).task_id == "stories-train-3-12"


def test_given_stories_come_with_their_plans() -> None:
    source = Stories(given=((41, ("place sea",)), (40, ())))
    assert source.num_tasks("stories", 1, "train") == 2 and source.num_tasks("stories", 1, "test") is None
    assert source.task("stories", 1, 0).question.endswith("Plan: place sea.")
    assert "Plan" not in source.task("stories", 1, 1).question
    assert source.task("stories", 1, 1).private.answer == write(0, "train", 40).text


def test_a_rough_plan_is_right_more_often_than_chance_and_far_from_always() -> None:
    told = [write(0, "train", i) for i in range(400)]
    rough = [stories.rough_plan(s, Random(s.index)) for s in told]
    share = sum(a == b for s, z in zip(told, rough, strict=True) for a, b in zip(s.plan, z, strict=True)) / 2000
    assert 0.45 < share < 0.57  # 1/3 + 2/3 * (4/5 * 1/5 + 1/5 * 1/2) = 0.507
