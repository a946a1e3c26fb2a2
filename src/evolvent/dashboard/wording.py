"""Turns what agents wrote and the hub counted into words that a page may show: hidden characters become visible."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

# what turns text around, hides in it, or breaks a page; joiners of emoji and of scripts that need them stay
_UNSEEN = (
    *range(0x200E, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x2070), *range(0xFFF9, 0xFFFC),
    *range(0xE0000, 0xE0080), 0x061C, 0x180E, 0x200B, 0x2028, 0x2029, 0xFEFF,
)  # fmt: skip
_CONTROLS: dict[int, str | int] = {
    **{code: 0x2400 + code for code in range(32) if chr(code) not in "\n\t"},
    0x7F: 0x2421,
    **dict.fromkeys(range(0x80, 0xA0), "\N{REPLACEMENT CHARACTER}"),
    **dict.fromkeys(range(0xD800, 0xE000), "\N{REPLACEMENT CHARACTER}"),
    **{code: f"\u27e8U+{code:04X}\u27e9" for code in _UNSEEN},
}
ELLIPSIS, DASH, MINUS = "\u2026", "\u2013", "\u2212"

STATUS = {
    "pending": ("waiting", "wait", "nobody has measured it yet"),
    "running": ("being measured", "wait", "a worker measures it now"),
    "comparing": (
        "being compared",
        "wait",
        "measured better than the best, and waits to be compared with it on fresh seeds",
    ),
    "official": ("official", "plain", "measured by the hub"),
    "kept": ("kept", "good", "compared with the incumbent, and better"),
    "passed": ("not kept", "plain", "compared with the incumbent, and not told apart from luck"),
    "failed": ("invalid", "bad", "it was run, and its answer does not count"),
    "error": ("not measured", "bad", "the hub or a worker failed, not the run"),
    "off": ("called off", "bad", "somebody with the right to do so took its number away"),
}


def visible(page: str) -> str:
    """A whole page with every character that could hide or turn something shown by its number.

    >>> visible("a\\u202egnp.exe\\x07")
    'a⟨U+202E⟩gnp.exe␇'
    """
    return page.replace("\r\n", "\n").translate(_CONTROLS)


def cut(text: object, num: int) -> str:
    """The beginning of a text, with an ellipsis where more was there.

    >>> cut("abcdef", 4), cut(None, 4)
    ('abc…', '')
    """
    said = "" if text is None else str(text)
    return said if len(said) <= num else said[: num - 1] + ELLIPSIS


def line(text: object, num: int = 140) -> str:
    """The same in one line."""
    return " ".join(cut(text, 4 * num).split())[:num] + (ELLIPSIS if len(str(text or "")) > num else "")


def after_title(text: str, title: str) -> str:
    """What a message says beyond its title, where it begins with that.

    >>> after_title("sort first\\n\\nIt helps.", "sort first"), after_title("sorted", "sort"), after_title("a", "")
    ('It helps.', 'sorted', 'a')
    """
    said, short = text.strip(), title.strip()
    rest = said.removeprefix(short) if short else said
    return rest.strip() if rest != said and (not rest or rest[0].isspace()) else said


def counted(num: int | None, noun: str) -> str:
    """A number with its noun.

    >>> counted(1, "run"), counted(12345, "run"), counted(2, "reply")
    ('1 run', '12,345 runs', '2 replies')
    """
    many = noun[:-1] + "ies" if noun.endswith("y") else noun + "s"
    return f"{num or 0:,} {noun if num == 1 else many}"


def status_of(run: Mapping[str, Any]) -> tuple[str, str, str]:
    """A run's state as a word, a tone and what it means."""
    state = str(run.get("verification_status") or "pending")
    if run.get("valid") is False and state != "failed":
        return STATUS["off"]
    if state == "success":
        kept = run.get("is_kept")
        state = "official" if kept is None else "kept" if kept else "passed"
    return STATUS.get(state, (line(state, 20), "plain", ""))


def age(stamp: str | None, now: datetime) -> str:
    """How long ago something was, in the largest unit that fits; the day itself after a month.

    >>> age("2026-01-02T00:00:00.000000+00:00", datetime(2026, 1, 2, 3, 4, tzinfo=UTC))
    '3 h ago'
    """
    then = read_stamp(stamp)
    if then is None:
        return DASH
    seconds = (now - then).total_seconds()
    if seconds < 0:
        return f"in {_span(-seconds)}"
    if seconds >= 30 * 86400:
        return then.date().isoformat()
    return "now" if seconds < 5 else f"{_span(seconds)} ago"


def read_stamp(stamp: str | None) -> datetime | None:
    """A point in time from ISO 8601, None for what is none."""
    try:
        then = datetime.fromisoformat(str(stamp))
    except ValueError:
        return None
    return then if then.tzinfo else then.replace(tzinfo=UTC)


def _span(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s"
