"""The words that parametric worlds are made of: a plain one for people, and others that a schema may use instead."""

from __future__ import annotations

RELATIONS = (
    ("order", "customer"),
    ("book", "author"),
    ("flight", "airline"),
    ("pupil", "school"),
    ("song", "singer"),
    ("room", "hotel"),
    ("ticket", "concert"),
    ("car", "garage"),
    ("patient", "doctor"),
    ("player", "team"),
    ("parcel", "courier"),
    ("tree", "garden"),
    ("loan", "bank"),
    ("film", "studio"),
)
"""Things that belong to things, as (many, one)."""

TEXTS = {
    "city": ("town", "place"),
    "color": ("shade", "tint"),
    "state": ("status", "phase"),
    "kind": ("type", "sort"),
    "contact": ("person", "agent"),
}
"""Columns of words: the plain one, and what a schema may call it."""

NUMBERS = {
    "price": ("cost", "fee"),
    "weight": ("mass", "load"),
    "rank": ("place_no", "position"),
    "age": ("years", "oldness"),
    "stock": ("supply", "amount"),
}
"""Columns of whole numbers."""

VALUES = {
    "city": ("oslo", "rome", "lima", "cairo", "delhi", "quito", "perth", "minsk"),
    "color": ("red", "blue", "green", "white", "black", "gray", "pink", "gold"),
    "state": ("open", "late", "paid", "lost", "new", "held", "sent", "done"),
    "kind": ("small", "large", "short", "long", "thin", "wide", "round", "flat"),
    "contact": ("anna", "boris", "carla", "david", "elena", "frank", "greta", "hugo"),
}

KEYS = ("id", "key", "ref", "code", "num", "tag")
"""What a key is called."""

CONSONANTS, VOWELS = "bdfgklmnprstvz", "aeiou"
"""Syllables of these are names that mean nothing, for tools and tables."""
