"""Transformations of a word of random letters; longer words and more steps with the level."""

from __future__ import annotations

import random
from dataclasses import replace

from evolvent.records import Reference, said
from evolvent.tasks.procedural.draft import Draft
from evolvent.tasks.word_programs import CLOSINGS, STEPS, Program, draw_step, draw_word

LEVELS = (1, 2, 3, 4, 5)
JUDGE = Reference("evolvent.rewards.verify:exact")

NUM_LETTERS = {1: 3, 2: 5, 3: 8, 4: 8, 5: 12}
NUM_STEPS = {1: 1, 2: 1, 3: 1, 4: 2, 5: 3}


def make(rng: random.Random, level: int) -> Draft:
    """A word and the steps to take on it, in order."""
    word = draw_word(rng, NUM_LETTERS[level])
    names = rng.sample(STEPS, NUM_STEPS[level])
    # raised letters only appear at the very end, where no later step has to say what they count as
    if "upper" in names:
        names.append(names.pop(names.index("upper")))
    elif rng.random() < 0.4:
        names[-1] = rng.choice(CLOSINGS)
    program, answer = Program(word, ()), word
    for name in names:
        step = draw_step(name, answer, rng)
        program, answer = replace(program, steps=(*program.steps, step)), step.apply(answer)
    return Draft(program.words, answer, solution=(said("assistant", answer),))
