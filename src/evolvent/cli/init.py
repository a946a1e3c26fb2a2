"""`evolvent init`: a folder with a task source, a reward and an agent that run as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from evolvent.cli.main import Command, refuse_fields
from evolvent.cli.screen import Screen
from evolvent.cli.subject import one_word
from evolvent.errors import BadInput, StoreError
from evolvent.store import write_bytes

HOME = Path(__file__).with_name("starter")
RUN = 'evolvent run "source=my_tasks:Minutes()" world=my_agent:TOOLS workflow=my_agent:agent'


def main(command: Command) -> dict[str, Any]:
    """Write the folder; nothing that stands there is overwritten."""
    refuse_fields(command)
    folder = Path(one_word(command, "DIR")).expanduser().absolute()
    texts = {path.name: path.read_bytes() for path in sorted(HOME.iterdir()) if path.is_file()}
    if folder.exists() and not folder.is_dir():
        raise StoreError("a file has this name", where=str(folder), wanted="a new folder", cure="choose another name")
    there = [name for name in texts if (folder / name).exists()]
    if there:
        raise BadInput(
            "these files are there already, and nothing is overwritten",
            where=str(folder),
            got=", ".join(there),
            wanted="a new folder, or one without them",
            cure="evolvent init another-folder",
        )
    for name, text in texts.items():
        write_bytes(folder / name, text)
    screen = Screen(as_json=command.json)
    for name in texts:
        screen.say(f"written  {folder / name}")
    screen.console.print(f"\nnext     cd {command.words[0]}\n         {RUN}", markup=False)
    return {"folder": str(folder), "files": [str(folder / name) for name in texts], "next": RUN}
