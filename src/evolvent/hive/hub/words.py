"""Texts that others send: bounded, and such as every database and page can keep."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, StringConstraints

_HALF = re.compile("[\ud800-\udfff]")


def plain(text: str) -> str:
    """The text itself; ValueError where it has a NUL or half a character in it."""
    if "\0" in text:
        raise ValueError("must not have a NUL in it")
    if _HALF.search(text):
        raise ValueError("must not have half a character in it")
    return text


Line = Annotated[str, StringConstraints(max_length=300), AfterValidator(plain)]
Body = Annotated[str, StringConstraints(max_length=20_000), AfterValidator(plain)]
Branch = Annotated[str, StringConstraints(max_length=200, pattern=r"^[A-Za-z0-9._/+@-]*$")]
