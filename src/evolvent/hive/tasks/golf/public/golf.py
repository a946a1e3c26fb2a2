# mypy: ignore-errors
"""Codes text by an arithmetic coder over the bits of each byte: what contexts say of the next bit is mixed.

`params.json` says which contexts there are, how each counts, and how they are mixed.
"""

import json
import lzma
import sys
from collections import defaultdict
from math import exp, log
from operator import mul
from pathlib import Path

FULL = 1 << 16  # a chance of one
TOP = 0xFFFFFFFF
LETTERS = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_")
# of each byte, the bits with what is known of it before each: a node, which is 1 and the bits so far
PATHS = [[((256 + byte) >> 8 - i, byte >> 7 - i & 1) for i in range(8)] for byte in range(256)]


class Model:
    """The chance of each next bit, learned on the way: the same for coder and decoder."""

    def __init__(self, how, primer=b""):
        self.how, self.text, self.node, self.word = how, bytearray(), 1, b""
        self.contexts, self.match = defaultdict(dict), Match(how["match"])
        self.tables = self._tables()
        steps = [max(how["order"] - i, 0) for i in range(len(self.tables))]
        start = [how["weight"] * how["tilt"] ** step for step in (*steps, 0)]
        self.weights = defaultdict(lambda: list(start))
        for byte in primer:
            self._count(PATHS[byte])
            self._end(byte)

    def chance(self):
        """Of a one, between 32 and FULL - 32."""
        node, prior = self.node, self.how["prior"]
        cells = [table.get(node) for table in self.tables]
        self.says = says = [log((cell[1] + prior) / (cell[0] + prior)) if cell else 0.0 for cell in cells]
        says.append(self.match.guess(node))
        if self.how["mix"] == "longest":
            total = next((one for one in reversed(says) if one), 0.0)
        else:
            self.used = [self.weights[key] for key in self._keys(cells)]
            total = sum(sum(map(mul, weights, says)) for weights in self.used) / len(self.used)
        self.p = 1 / (1 + exp(-min(max(total, -11.0), 11.0)))
        return min(max(int(self.p * FULL), 32), FULL - 32)

    def learn(self, bit):
        """Move towards what was seen."""
        if self.how["mix"] == "learned":
            step = self.how["rate"] * (bit - self.p)
            for weights in self.used:
                weights[:] = [weight + step * one for weight, one in zip(weights, self.says, strict=True)]
        self._count([(self.node, bit)])
        self.match.learn(bit)
        self.node = self.node * 2 + bit
        if self.node >= 256:
            self._end(self.node - 256)

    def _count(self, path):
        """Count bits in every context; what speaks against them counts for less from now on."""
        limit, fade = self.how["limit"], self.how["fade"]
        for table in self.tables:
            for node, bit in path:
                cell = table.get(node)
                if cell is None:
                    table[node] = [0.0, 1.0] if bit else [1.0, 0.0]
                    continue
                if cell[bit] < limit:
                    cell[bit] += 1
                cell[1 - bit] *= fade

    def _keys(self, cells):
        """The rows of weights used and learned here: one for each node, each number of contexts seen, or for all."""
        sets, num_seen = self.how["sets"], sum(map(bool, cells))
        return {"one": [0], "node": [self.node], "seen": [-num_seen], "both": [self.node, -num_seen]}[sets]

    def _end(self, byte):
        self.text.append(byte)
        self.node, self.word = 1, self.word + bytes([byte]) if byte in LETTERS else b""
        self.match.end(self.text)
        self.tables = self._tables()

    def _tables(self):
        """What was counted in each context of the next byte."""
        last = bytes(self.text[-8:])
        keys = [last[-order:] if order else b"" for order in range(self.how["order"] + 1)]
        if self.how["word"]:
            keys.append((self.word, last[-1:]))
        if self.how["skip"]:
            keys.append((b"", last[-3:-1]))
        return [self.contexts[key] for key in keys]


class Match:
    """Finds where the last bytes stood before, and says what came next there, by how often that was right."""

    def __init__(self, num_bytes):
        self.num_bytes, self.places, self.place, self.length = num_bytes, {}, 0, 0
        self.says, self.hits = 0, [[1.0, 1.0] for _ in range(16)]

    def guess(self, node):
        """For a one or against it; 0 where no such place is known."""
        if not self.length:
            return 0.0
        self.says = self.byte >> 8 - node.bit_length() & 1
        misses, hits = self.hits[min(self.length, 15)]
        return log(hits / misses) if self.says else log(misses / hits)

    def learn(self, bit):
        """Count whether it was right, and leave a place that was not."""
        if self.length:
            self.hits[min(self.length, 15)][bit == self.says] += 1
            self.length *= bit == self.says

    def end(self, text):
        """Go on to the next byte, or look for a place."""
        if not self.num_bytes:
            return
        is_right = self.length and text[self.place] == text[-1]
        last = bytes(text[-self.num_bytes :])
        self.place, self.length = (self.place + 1, self.length + 1) if is_right else (self.places.get(last, 0), 0)
        if self.place and not is_right:
            self.length = 1
        self.places[last] = len(text)
        self.byte = text[self.place] if self.length else 0


def begin():
    """The model as `params.json` has it, with what it learned before."""
    how = json.loads(Path("params.json").read_text("utf-8"))
    primer = lzma.decompress(Path("weights/primer.lzma").read_bytes())[: how["prime"]] if how["prime"] else b""
    return Model(how, primer)


def encode(text):
    """The length, and a number between 0 and 1 that tells every bit."""
    model, low, high, code = begin(), 0, TOP, bytearray(len(text).to_bytes(2, "big"))
    for byte in text:
        for _, bit in PATHS[byte]:
            middle = low + (high - low) * model.chance() // FULL
            low, high = (low, middle) if bit else (middle + 1, high)
            model.learn(bit)
            while (low ^ high) >> 24 == 0:
                code.append(high >> 24)
                low, high = low << 8 & TOP, (high << 8 & TOP) | 0xFF
    code.append((low >> 24) + 1)  # with zeros after it, between low and high
    return bytes(code)


def decode(code):
    """The text again."""
    model, low, high, text = begin(), 0, TOP, bytearray()
    code, place = code + bytes(8), 6
    value = int.from_bytes(code[2:6], "big")
    for _ in range(int.from_bytes(code[:2], "big")):
        byte = 0
        for _ in range(8):
            middle = low + (high - low) * model.chance() // FULL
            bit = int(value <= middle)
            low, high = (low, middle) if bit else (middle + 1, high)
            model.learn(bit)
            byte = byte * 2 + bit
            while (low ^ high) >> 24 == 0:
                value = (value << 8 & TOP) | code[place]
                place += 1
                low, high = low << 8 & TOP, (high << 8 & TOP) | 0xFF
        text.append(byte)
    return bytes(text)


if __name__ == "__main__":
    if sys.argv[1] == "encode":
        Path("code.bin").write_bytes(encode(Path("inputs/text").read_bytes()))
    else:
        Path("decoded.txt").write_bytes(decode(Path("inputs/predictions").read_bytes()))
