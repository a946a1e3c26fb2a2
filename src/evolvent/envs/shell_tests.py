"""Runs a task's hidden tests over the files that an agent left, where the agent never was, and reads the reward.

A sandbox of its own for every run: fresh processes, empty /tests and /logs, the tests put in by us. What comes over
from the agent is data alone. A run that ends without a reward is worth 0: nobody gains by breaking it.
"""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from evolvent.envs.sandbox.limits import Ended, Limits, Result
from evolvent.envs.sandbox.tier import Sandbox
from evolvent.envs.shell_files import TAR, Left, read_left
from evolvent.envs.shell_image import room_of, sandbox_for
from evolvent.envs.shell_room import APP, LOGS, SOLUTION, TESTS, Room
from evolvent.tasks.formats.harbor import SOLVE, HarborTask

MAX_LOG = 4096
MAX_S, MAX_MEMORY = 3600.0, 4 * 2**30
REWARD_TEXT, REWARD_JSON = f"{LOGS}/reward.txt", f"{LOGS}/reward.json"
GIVEN, FINAL = "given.tar", "final.tar"
PREPARE = f"mkdir -p {APP} && tar -C {APP} -xf {GIVEN} && rm {GIVEN}"
WIDE = Limits(wall_s=60.0, cpu_s=60.0, disk_bytes=160 * 2**20, file_bytes=80 * 2**20, num_files=8192, num_processes=64)
# python does not look for modules in the folder that the agent filled, nor a shell for its start file
CALM = {"PYTHONSAFEPATH": "1", "PYTHONNOUSERSITE": "1", "PYTHONDONTWRITEBYTECODE": "1"}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the tests said: the reward, all rewards by name, what was printed, and why there is no reward."""

    reward: float
    rewards: Mapping[str, float] = field(default_factory=dict)
    log: str = ""
    seconds: float = 0.0
    why: str = ""


@dataclass(frozen=True, slots=True)
class Trial:
    """One script carried out in a fresh room and tested: the verdict, what was printed, and what was left."""

    verdict: Verdict
    printed: str
    left: Left


def judge_files(sandbox: Sandbox, task: HarborTask, left: Left, *, step: str = "") -> Verdict:
    """Run the tests of a task (or of one step of it) over what was left."""
    if left.trouble:
        return Verdict(0.0, why=left.trouble)
    room = room_of(task)
    tests = task.below("tests") | (task.below(f"steps/{step}/tests") if step else {})
    files = {f"{TESTS}/{path}": data for path, data in tests.items()} | {GIVEN: left.archive}
    asked = {str(k): str(v) for k, v in (task.table("verifier").get("env") or {}).items()}
    script = f"""root=$PWD; mkdir -p {LOGS} home; {PREPARE} && cd {APP} || exit 99
{exports({**(room.variables or {}), **asked, **CALM})}
export HOME="$root/home" EVOLVENT_LOGS="$root/{LOGS}"
exec /bin/bash --noprofile --norc "$root/{TESTS}/test.sh" 2>&1"""
    limits = bounds(task, task.verifier_s)
    fresh = sandbox_for(room, sandbox)
    ran = fresh.run(["/bin/sh", "-c", script], files=files, keep=(REWARD_TEXT, REWARD_JSON), limits=limits)
    return _verdict(ran)


def try_script(sandbox: Sandbox, task: HarborTask, script: str, *, solution: bool = False) -> Trial:
    """Carry out a script where an agent would work, then run the tests over what it left."""
    room = room_of(task)
    files = given(room) | ({f"{SOLUTION}/{p}": d for p, d in task.below(SOLUTION).items()} if solution else {})
    files["script.sh"] = script.encode()
    asked = {str(k): str(v) for k, v in (task.table("solution").get("env") or {}).items()} if solution else {}
    lines = f"""{PREPARE}
({exports({**(room.variables or {}), **asked})}
cd {APP} && exec /bin/bash --noprofile --norc ../script.sh) 2>&1
rm -rf {FINAL}; {TAR} {FINAL} ."""
    limits = bounds(task, task.agent_s)
    fresh = sandbox_for(room, sandbox)
    ran = fresh.run(["/bin/sh", "-c", lines], files=files, keep=(FINAL,), limits=limits)
    left = read_left(ran.files.get(FINAL))
    if ran.outcome is not Ended.OK and not ran.files.get(FINAL):
        left = replace(left, trouble=f"the script {ran.outcome}: {_tail(ran)}")
    return Trial(judge_files(sandbox, task, left), _tail(ran), left)


def solve_script(task: HarborTask) -> str:
    """The task's own solution as a script; nothing where it has none."""
    return task.files.get(SOLVE, b"").decode("utf-8", "replace")


def given(room: Room) -> dict[str, bytes]:
    """What a room holds as the one file that `PREPARE` unpacks, with folders and rights."""
    whole = Left(room.files, room.executables, room.links or {}, room.folders)
    return {GIVEN: whole.archive}


def _verdict(ran: Result) -> Verdict:
    log = _tail(ran)
    try:
        rewards = _rewards(ran.files)
    except (ValueError, RecursionError) as error:
        return Verdict(0.0, {}, log, ran.usage.wall_s, f"the reward cannot be read: {error}")
    if ran.outcome not in (Ended.OK, Ended.FAILED):
        return Verdict(0.0, rewards, log, ran.usage.wall_s, f"the tests ended: {ran.outcome}")
    if not rewards:
        return Verdict(0.0, {}, log, ran.usage.wall_s, "the tests ended without a reward")
    return Verdict(rewards.get("reward", 0.0), rewards, log, ran.usage.wall_s)


def _rewards(files: Mapping[str, bytes]) -> dict[str, float]:
    """Rewards by name: reward.json where it is there, else reward.txt; a lone number is called reward."""
    if REWARD_JSON in files:
        found = json.loads(files[REWARD_JSON])
        named = found if isinstance(found, dict) else {"reward": found}
    elif REWARD_TEXT in files:
        named = {"reward": float(files[REWARD_TEXT].decode("utf-8", "replace"))}
    else:
        return {}
    odd = [v for v in named.values() if isinstance(v, bool) or not isinstance(v, int | float) or not math.isfinite(v)]
    if odd:
        raise ValueError(f"{odd[0]!r} is not a finite number")
    if len(named) == 1:  # tests that name their only number otherwise still mean it
        return {**named, "reward": float(next(iter(named.values())))}
    return {str(name): float(value) for name, value in named.items()}


def bounds(task: HarborTask, seconds: float) -> Limits:
    """What a run may use: so many seconds, and the memory that the task asks for."""
    asked = task.table("environment").get("memory_mb")
    memory = asked * 2**20 if isinstance(asked, int) and asked > 0 else WIDE.memory_bytes
    seconds = min(seconds, MAX_S)
    return replace(WIDE, wall_s=seconds, cpu_s=seconds, memory_bytes=min(max(memory, WIDE.memory_bytes), MAX_MEMORY))


def exports(variables: Mapping[str, str]) -> str:
    """Variables as lines of a shell script."""
    return "\n".join(f"export {name}={shlex.quote(value)}" for name, value in variables.items())


def _tail(ran: Result) -> str:
    text = (ran.stdout + ran.stderr).strip()
    return text if len(text) <= MAX_LOG else "..." + text[-MAX_LOG:]
