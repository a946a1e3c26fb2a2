"""Transformations of a word of random letters; longer words and more steps with the level."""

from __future__ import annotations

import random

from evolvent.records import Reference, said
from evolvent.tasks.procedural.draft import Draft

LEVELS = (1, 2, 3, 4, 5)
JUDGE = Reference("evolvent.rewards.verify:exact")

NUM_LETTERS = {1: 3, 2: 5, 3: 8, 4: 8, 5: 12}
NUM_STEPS = {1: 1, 2: 1, 3: 1, 4: 2, 5: 3}
STEPS = ("reverse", "rotate", "upper", "double", "sort")
CLOSINGS = ("count", "drop")


def make(rng: random.Random, level: int) -> Draft:
    """A word and the steps to take on it, in order."""
    # few different letters, so that counting and dropping one of them changes something
    letters = rng.sample("abcdefghijklmnopqrstuvwxyz", max(3, NUM_LETTERS[level] // 2))
    word = "".join(rng.choice(letters) for _ in range(NUM_LETTERS[level]))
    names = rng.sample(STEPS, NUM_STEPS[level])
    # raised letters only appear at the very end, where no later step has to say what they count as
    if "upper" in names:
        names.append(names.pop(names.index("upper")))
    elif rng.random() < 0.4:
        names[-1] = rng.choice(CLOSINGS)
    phrases, answer = [], word
    for name in names:
        phrase, answer = step(name, answer, rng)
        phrases.append(phrase)
    return Draft(f"{word}: {', '.join(phrases)}", answer, solution=(said("assistant", answer),))


def step(name: str, word: str, rng: random.Random) -> tuple[str, str]:
    """The words for one step, and what it makes of `word`."""
    if name == "reverse":
        return "reverse", word[::-1]
    if name == "rotate":
        turns = rng.randint(1, min(3, len(word) - 1))
        return f"first {turns} to end", word[turns:] + word[:turns]
    if name == "upper":
        every = rng.randint(2, 3)
        return f"uppercase every {ordinal(every)}", "".join(
            letter.upper() if place % every == 0 else letter for place, letter in enumerate(word, start=1)
        )
    if name == "double":
        return "double the last letter", word + word[-1]
    if name == "sort":
        return "sort", "".join(sorted(word))
    letter = rng.choice(sorted(set(word)))
    kept = word.replace(letter, "")
    # where the word is one letter over and over, dropping it would leave an empty answer
    return (f"drop every {letter}", kept) if name == "drop" and kept else (f"count {letter}", str(word.count(letter)))


def ordinal(number: int) -> str:
    """2 as 2nd and 3 as 3rd."""
    return {2: "2nd", 3: "3rd"}[number]
