import pytest

from evolvent.recipes.ift import FAMILY, Dictation, build, share_right, small
from evolvent.rewards.verify import exact
from evolvent.training.intuitive import Intuitive
from evolvent.training.losses import Likelihood


def test_words_are_written_out_as_they_are():
    task = Dictation().task(FAMILY, 1, 3)
    assert task == Dictation().task(FAMILY, 1, 3) and exact(task, task.question).value == 1
    assert 8 <= len(task.question) <= 24


def test_splits_share_no_word():
    shown, held_out = ({Dictation().task(FAMILY, 1, i, s).question for i in range(256)} for s in ("train", "test"))
    assert not shown & held_out


def test_letters_count_where_they_stand():
    # abcd against abdc: the first two stand right; a letter too few shifts the rest
    assert share_right("abcd", "abdc") == 0.5
    assert share_right("acd", "abcd") == 0.25
    assert share_right("abcdd", "abcd") == 1.0
    assert share_right("", "abcd") == pytest.approx(0.0)


def test_the_arms_differ_in_their_loss_alone():
    assert isinstance(build().loss, Intuitive) and isinstance(small(0, 0).loss, Likelihood)
    assert small(0.4, 0.5).loss == Intuitive(0.4, 0.5)
