# mypy: ignore-errors
"""Codes text by an arithmetic coder over the bits of each byte, each foretold by what followed the byte before."""

import sys
from pathlib import Path

ORDER = 1  # how many bytes before it foretell a byte
RATE = 4  # how fast a chance follows what is seen: by 1 / 2^RATE
FULL = 1 << 16


class Model:
    """The chance of each next bit, learned on the way: the same for coder and decoder."""

    def __init__(self):
        self.chances, self.history, self.node = {}, b"\0" * ORDER, 1

    def chance(self):
        """Of a one, between 1 and FULL - 1."""
        return self.chances.get((self.history, self.node), FULL // 2)

    def learn(self, bit):
        """Move towards what was seen."""
        chance = self.chance()
        chance += ((FULL - chance) >> RATE) if bit else -(chance >> RATE)
        self.chances[self.history, self.node] = min(max(chance, 64), FULL - 64)
        self.node = self.node * 2 + bit
        if self.node >= 256:
            self.history, self.node = (self.history + bytes([self.node - 256]))[-ORDER:] if ORDER else b"", 1


def encode(text):
    """The length, and a number between 0 and 1 that tells every bit."""
    model, low, high, code = Model(), 0, 0xFFFFFFFF, bytearray(len(text).to_bytes(4, "big"))
    for byte in text:
        for shift in range(7, -1, -1):
            bit, middle = byte >> shift & 1, low + (high - low) * model.chance() // FULL
            low, high = (low, middle) if bit else (middle + 1, high)
            model.learn(bit)
            while (low ^ high) >> 24 == 0:
                code.append(high >> 24)
                low, high = low << 8 & 0xFFFFFFFF, (high << 8 & 0xFFFFFFFF) | 0xFF
    code.append((low >> 24) + 1)  # with zeros after it, between low and high
    return bytes(code)


def decode(code):
    """The text again."""
    model, low, high, text = Model(), 0, 0xFFFFFFFF, bytearray()
    code, place = code + bytes(8), 8
    value = int.from_bytes(code[4:8], "big")
    for _ in range(int.from_bytes(code[:4], "big")):
        byte = 0
        for _ in range(8):
            middle = low + (high - low) * model.chance() // FULL
            bit = int(value <= middle)
            low, high = (low, middle) if bit else (middle + 1, high)
            model.learn(bit)
            byte = byte * 2 + bit
            while (low ^ high) >> 24 == 0:
                value = (value << 8 & 0xFFFFFFFF) | code[place]
                place += 1
                low, high = low << 8 & 0xFFFFFFFF, (high << 8 & 0xFFFFFFFF) | 0xFF
        text.append(byte)
    return bytes(text)


if __name__ == "__main__":
    if sys.argv[1] == "encode":
        Path("code.bin").write_bytes(encode(Path("inputs/text").read_bytes()))
    else:
        Path("decoded.txt").write_bytes(decode(Path("inputs/predictions").read_bytes()))
