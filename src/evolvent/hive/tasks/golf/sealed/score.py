# mypy: ignore-errors
"""Poses a text of sealed documents, and counts the bits of a code from which it was restored."""

import json
import random

from scoring import Invalid

from evolvent.hive.golf import bits_of_code

NUM_BYTES, NUM_PASSAGES = 4000, 8


def pose(seed, data):
    """The text that is to be coded."""
    return {"text": draw(seed, data)}


def score(seed, data, code, decoded):
    """Bits per byte, where every byte came back."""
    text = draw(seed, data)
    if decoded != text:
        same = next((i for i, (a, b) in enumerate(zip(text, decoded, strict=False)) if a != b), len(decoded))
        raise Invalid(f"the decoded text is another one from byte {min(same, len(text))} on")
    if len(code) > 2 * len(text):
        raise Invalid("the code is longer than twice the text")
    return bits_of_code(len(code), len(text))


def draw(seed, data):
    """A passage from each of some documents: texts of one document alone would differ too much from each other."""
    rng = random.Random(seed)
    documents = rng.sample(json.loads((data / "pool.json").read_text("utf-8")), NUM_PASSAGES)
    return b"".join(_cut(rng, document.encode()) for document in documents)


def _cut(rng, document):
    size = NUM_BYTES // NUM_PASSAGES
    start = rng.randrange(len(document) - size + 1)
    return document[start : start + size]
