"""`evolvent hive join`: one agent at work on one task of a hub, until its budget is used or it is told to stop."""

from __future__ import annotations

import math
import re
import shutil
import signal
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

from evolvent.cli.hive_agents import COMMAND_FIELDS, EDIT_FIELDS
from evolvent.cli.hive_progress import make_teller, say_begin, say_driven, say_end, tell_answer
from evolvent.cli.hive_work import hub_of
from evolvent.cli.main import Command, refuse_fields
from evolvent.cli.screen import Screen
from evolvent.cli.words import one_line, printable
from evolvent.errors import BadInput, nearest
from evolvent.hive.paths import check_agent

if TYPE_CHECKING:
    from evolvent.hive.agents.client import HubClient
    from evolvent.hive.agents.join import Member
    from evolvent.hive.agents.keys import Key
    from evolvent.hive.agents.proposer import Proposer, Wire
    from evolvent.hive.agents.terms import How, Limits, Summary

SEARCHERS = ("hill_climb", "crossover", "tpe", "cma", "random")
OWN_FIELDS = ("hub", "agent", "name", "folder", "invite", "alone", "evaluations", "seconds", "tokens", "money")
STOPPED, TERMINATED = 130, 143
HELP = """TASK is a task of the hub; the agent works on it until its limits or the hub's budget are used, or Ctrl-C.
agent=hill_climb|crossover|tpe|cma|random    searches the parameters that the task declares (public/space.json)
agent="COMMAND ..."                          any coding agent; {prompt} or {prompt_file} in it, else the prompt on stdin
agent=http://127.0.0.1:8000/v1#MODEL         a model with the built-in edit loop; also a run, a checkpoint, owner/name
The same name is the same agent, which goes on with what it had begun: its token and work tree lie below
$EVOLVENT_HIVE_HOME (else ~/.config/evolvent/hive). With alone=true it sees nothing of what others do.

keys: hub=URL (else $EVOLVENT_HIVE) agent=hill_climb name= folder= invite= alone=false
  evaluations= seconds= tokens= money= (from now on; the hub has limits of its own)
  of a command: mode=once|free limit_s= grace_s= isolate=bwrap|none see= env= memory_mb= processes=
  of a model: context_tokens= answer_tokens= temperature= price=IN,OUT api_key_env= eval_s= timeout_s="""


@dataclass(frozen=True)
class Wanted:
    """What was asked for."""

    task: str
    hub: str
    agent: str
    name: str | None
    folder: Path | None
    how: How


def main(command: Command, words: tuple[str, ...]) -> dict[str, Any]:
    """Join, work, and say what came of it; exit 130 where it was stopped."""
    from evolvent.hive.agents.client import HubClient

    screen = Screen(as_json=command.json)
    wanted = _read(command, words, screen)
    with HubClient(wanted.hub, patience_s=5.0) as nobody:
        nobody.task(wanted.task)  # a name that is wrong registers nobody
        key, folder = _find_key(nobody, wanted, command.fields.get("invite"))
    with HubClient(wanted.hub, token=key.token) as client:
        proposer, status = _build(wanted, key, folder, command, screen), None
        name = f"{key.agent} ({one_line(wanted.agent, 60)}){', alone' if wanted.how.is_alone else ''}"
        say_begin(screen, name, f"{wanted.task} at {wanted.hub}", folder)
        if getattr(proposer, "mode", "once") == "free":
            with _listening(screen, None):
                ended = _drive(proposer, client, wanted.task)
            say_driven(screen, ended, folder)
            return {"agent": key.agent, "task": wanted.task, "folder": str(folder), "exit": ended}
        member = _member(client, key, wanted, folder, proposer)
        with _listening(screen, member.stop):
            summary = _run(member, wanted)
        status = STOPPED if member.stop.is_set() else 0
    say_end(screen, summary)
    return {**tell_answer(summary), "agent": key.agent, "task": wanted.task, "folder": str(folder), "exit": status}


def _member(client: HubClient, key: Key, wanted: Wanted, folder: Path, proposer: Proposer) -> Member:
    from evolvent.hive.agents.join import Member

    return Member(client, key.agent, wanted.task, folder, proposer, wanted.how)


def _run(member: Member, wanted: Wanted) -> Summary:
    from evolvent.hive.hub.refusals import Refused

    try:
        return member.run()
    except Refused as error:
        if error.status != 401:
            raise
        cure = f"if the hub is a new one: delete {_key_path(wanted)}, and join again"
        raise BadInput("the hub does not know this agent", where=wanted.hub, got=member.agent, cure=cure) from None


# ---------------------------------------------------------------- what was asked


def _read(command: Command, words: tuple[str, ...], screen: Screen) -> Wanted:
    from evolvent.hive.agents.terms import How

    refuse_fields(command, (*OWN_FIELDS, *COMMAND_FIELDS, *EDIT_FIELDS))
    fields = command.fields
    if len(words) != 1:
        got, wanted = " ".join(words) or "none", "one task, such as golf"
        raise BadInput("an agent works on one task", where="evolvent hive join", got=got, wanted=wanted)
    agent = fields.get("agent", "hill_climb").strip()
    kind_of(agent)
    if fields.get("alone", "false") not in ("true", "false"):
        raise BadInput("not a switch", where="alone", got=fields["alone"], wanted="true or false")
    how = How(
        limits=_limits(fields), seed=command.seed or 0, is_alone=fields.get("alone") == "true", tell=make_teller(screen)
    )
    folder = Path(fields["folder"]).expanduser().absolute() if "folder" in fields else None
    return Wanted(words[0], hub_of(fields), agent, fields.get("name"), folder, how)


def _limits(fields: Mapping[str, str]) -> Limits:
    from evolvent.hive.agents.terms import Limits

    found: dict[str, Any] = {}
    for name in Limits.__slots__:
        if name in fields:
            whole = name in ("evaluations", "tokens")
            try:
                found[name] = int(fields[name]) if whole else float(fields[name])
            except ValueError:
                found[name] = math.nan
            if not 0 < found[name] < math.inf:
                what = "a whole number" if whole else "a number"
                raise BadInput(f"not {what} above 0", where=name, got=fields[name], wanted=f"for example {name}=20")
    return Limits(**found)


def kind_of(agent: str) -> str:
    """Whether this names a searcher, a model or a command line."""
    if agent.replace("-", "_") in SEARCHERS:
        return "searcher"
    if agent.startswith(("http://", "https://")) or agent == "nano" or Path(agent).is_dir():
        return "model"
    if re.search(r"\s", agent) or shutil.which(agent):
        return "command"
    if re.fullmatch(r"[\w.-]+/[\w.-]+(/\S*)?", agent):
        return "model"
    wanted = 'a searcher, "COMMAND ...", or URL#MODEL'
    cure = nearest(agent, list(SEARCHERS))
    raise BadInput("there is no such agent", where="agent", got=agent, wanted=wanted, cure=cure)


def _build(wanted: Wanted, key: Key, folder: Path, command: Command, screen: Screen) -> Proposer:
    """The proposer, and a complaint where a field has no use for it."""
    from evolvent.cli.hive_agents import build_command_agent, build_edit_loop
    from evolvent.hive.agents.files import Seat
    from evolvent.hive.agents.search_proposer import build_searcher

    fields = {name: value for name, value in command.fields.items() if name not in OWN_FIELDS}
    kind = kind_of(wanted.agent)

    def tell(words: str) -> None:
        screen.console.print(f"        {printable(words)}", markup=False, soft_wrap=True)

    made: Proposer
    if kind == "searcher":
        made = build_searcher(wanted.agent.replace("-", "_"))
    elif kind == "model":
        made = build_edit_loop(wanted.agent, fields, tell)
    else:
        seat = Seat(folder, wanted.hub, wanted.task, key.agent, key.token)
        made = build_command_agent(wanted.agent, fields, seat, tell)
    for name, value in fields.items():
        cure = "leave it out"
        raise BadInput(f"{name}= has no effect on this agent", where=wanted.agent, got=f"{name}={value}", cure=cure)
    return made


# ---------------------------------------------------------------- who it is


def _find_key(nobody: HubClient, wanted: Wanted, invite: str | None) -> tuple[Key, Path]:
    """The agent's name and token, registered where it is new, and the folder in which it works."""
    from evolvent.hive.agents.keys import Key, keep_key, read_key
    from evolvent.hive.hub.refusals import Refused
    from evolvent.store.atomic import disk_errors_at

    path = _key_path(wanted)
    key = read_key(path)
    if key is None:
        with disk_errors_at(path):  # a token that cannot be kept would take the name with it
            path.parent.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=path.parent).close()
        try:
            made = nobody.register(_alias(wanted), invite)
        except Refused as error:
            if error.status != 409 or wanted.name:
                raise
            made = nobody.register(None, invite)  # somebody else has the name of this kind
        key = Key(made["id"], made["token"])
        keep_key(path, key)
    return key, wanted.folder or _home(wanted) / wanted.task / key.agent


def _key_path(wanted: Wanted) -> Path:
    """Where the token is kept; the same name, or the same kind without one, is the same agent."""
    if wanted.folder is not None:
        return wanted.folder / "agent.json"
    return _home(wanted) / "agents" / f"{check_agent(_alias(wanted))}.json"


def _alias(wanted: Wanted) -> str:
    kind = kind_of(wanted.agent)
    return wanted.name or (wanted.agent.replace("_", "-") if kind == "searcher" else kind)


def _home(wanted: Wanted) -> Path:
    from evolvent.hive.agents.calls import read_url
    from evolvent.hive.agents.keys import default_home, hub_folder

    return hub_folder(default_home(), read_url(wanted.hub))


# ---------------------------------------------------------------- while it works


@contextmanager
def _listening(screen: Screen, stop: Event | None) -> Iterator[None]:
    """Ctrl-C lets the step that runs come to its end, a second one does not; SIGTERM ends at once, and cleans up."""

    def interrupt(*_: Any) -> None:
        if stop is None or stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        screen.console.print("stopping after this step; Ctrl-C again stops at once", markup=False)

    def terminate(*_: Any) -> None:
        if stop is not None:
            stop.set()
        raise SystemExit(TERMINATED)

    before = {sign: signal.signal(sign, how) for sign, how in ((signal.SIGINT, interrupt), (signal.SIGTERM, terminate))}
    try:
        yield
    finally:
        for sign, how in before.items():
            signal.signal(sign, how)


def _drive(agent: Any, client: HubClient, task: str) -> int:
    """Let a command drive itself, in a clone of its own."""
    from evolvent.hive.agents.command_agent import drive
    from evolvent.hive.agents.worktree import clone_plainly

    def clone(folder: Path) -> Wire:
        answer = client.clone(task)
        clone_plainly(answer["ssh_url"], folder)
        return answer

    return int(drive(agent, client.task(task), clone))
