"""Says which names a file in a sandbox may have."""

from __future__ import annotations

from collections.abc import Iterable

from evolvent.envs.sandbox.limits import Limits
from evolvent.envs.sandbox.tier import Files
from evolvent.errors import BadInput

MAX_PART_BYTES, MAX_NAME_BYTES = 255, 1024


def check_names(names: Iterable[str]) -> None:
    """BadInput unless each is a plain relative path below the working folder."""
    for name in names:
        complaint = _complaint(name)
        if complaint:
            raise BadInput(
                f"this name of a file {complaint}",
                where="sandbox",
                got=ascii(name),
                wanted="a relative path such as 'src/main.py'",
            )


def check_files(files: Files, limits: Limits) -> None:
    """BadInput unless the files have good names and fit into the limits."""
    check_names(files)
    largest = max(map(len, files.values()), default=0)
    for got, limit, field in (
        (largest, limits.file_bytes, "file_bytes"),
        (sum(map(len, files.values())), limits.disk_bytes, "disk_bytes"),
        (len(files), limits.num_files, "num_files"),
    ):
        if got > limit:
            raise BadInput(
                "the files do not fit into the sandbox", got=got, wanted=f"<= {limit}", cure=f"raise Limits.{field}"
            )


def _complaint(name: str) -> str:
    try:
        data = name.encode()
    except UnicodeEncodeError:
        return "is not Unicode text"
    parts = name.split("/")
    if "\0" in name:
        return "has a NUL in it"
    if name.startswith("/"):
        return "is absolute"
    if ".." in parts:
        return "leads out of its folder"
    if not name or "." in parts or "" in parts:
        return "has an empty part"
    if len(data) > MAX_NAME_BYTES or max(len(part.encode()) for part in parts) > MAX_PART_BYTES:
        return "is too long"
    return ""
