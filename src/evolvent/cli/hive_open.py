"""`evolvent hive open`: brings a task to a hub, where its baseline is measured and agents can begin."""

from __future__ import annotations

import io
import secrets
import tarfile
from typing import Any

from evolvent.cli.hive_serve import find_task
from evolvent.cli.hive_work import PATIENCE_S, hub_of, read_key
from evolvent.cli.main import Command, refuse_fields
from evolvent.cli.screen import Screen
from evolvent.errors import BadInput


def main(command: Command, words: tuple[str, ...]) -> dict[str, Any]:
    """Send the folder, sealed parts included, to a hub that is trusted with them."""
    from evolvent.hive.agents.client import HubClient

    refuse_fields(command, ("hub", "key_file", "title", "description"))
    if len(words) != 1:
        wanted = "FOLDER, or a task that ships"
        raise BadInput(
            "open takes one task", where="evolvent hive open", got=" ".join(words) or "nothing", wanted=wanted
        )
    fields, screen = command.fields, Screen(as_json=command.json)
    task, url = find_task(words[0], secrets.randbits(62) if command.seed is None else command.seed), hub_of(fields)
    with HubClient(url, user_key=read_key(fields), timeout_s=120, patience_s=PATIENCE_S) as client:
        told = client.open_task(_pack(task), task.name, fields.get("title", ""), fields.get("description", ""))
    screen.console.print(f"open     {task.name} at {url}/tasks/{task.name}", markup=False, soft_wrap=True)
    return {"task": task.name, "digest": task.digest, "base_sha": told["base_sha"]}


def _pack(task: Any) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for path, data in sorted(task.files.items()):
            member = tarfile.TarInfo(path)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return packed.getvalue()
