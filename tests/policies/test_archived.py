import asyncio

import pytest

from evolvent.errors import StoreError
from evolvent.policies import Policy
from evolvent.policies.archived import Archived
from evolvent.policies.scripted import RandomWords
from evolvent.records import Prompt, Sampling, said

HOW = Sampling(16)


class Counting:
    """Other words each time that it is asked."""

    name = "counting"

    def __init__(self):
        self.num_asked = 0

    async def sample(self, prompts, how):
        self.num_asked += len(prompts)
        return await RandomWords("abcdefgh", 6).sample([
            Prompt(p.messages, stream=(self.num_asked, i)) for i, p in enumerate(prompts)
        ], how)  # fmt: skip


def asked(policy, *words, how=HOW):
    prompts = [Prompt((said("user", word),)) for word in words]
    return [given.text for given in asyncio.run(policy.sample(prompts, how))]


def test_what_was_asked_before_is_answered_from_the_file(tmp_path):
    first, second = Counting(), Counting()
    one = Archived(first, tmp_path / "deep" / "answers.jsonl")
    assert isinstance(one, Policy)
    given = asked(one, "a", "b", "a")
    assert given[0] == given[2]
    assert first.num_asked == 2
    assert asked(one, "b", "a") == [given[1], given[0]]
    two = Archived(second, tmp_path / "deep" / "answers.jsonl")
    assert asked(two, "a", "b") == given[:2]
    assert second.num_asked == 0
    asked(two, "c", "a")
    assert second.num_asked == 1


def test_another_seed_is_another_question(tmp_path):
    counting = Counting()
    policy = Archived(counting, tmp_path / "answers.jsonl")
    asked(policy, "a")
    asked(policy, "a", how=Sampling(16, seed=1))
    assert counting.num_asked == 2


def test_a_torn_line_is_asked_again_and_a_broken_one_is_said(tmp_path):
    path = tmp_path / "answers.jsonl"
    given = asked(Archived(Counting(), path), "a", "b")
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    counting = Counting()
    assert asked(Archived(counting, path), "a") == given[:1]
    asked(Archived(counting, path), "b")
    assert counting.num_asked == 1
    path.write_bytes(b"{}\n" + whole)
    with pytest.raises(StoreError, match="cannot be read") as told:
        Archived(Counting(), path)
    assert "line 1" in told.value.where
