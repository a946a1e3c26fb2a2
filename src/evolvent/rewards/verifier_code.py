"""Runs a verifier that somebody wrote, in the sandbox: `verify(answer, expected, changes)` with assertions."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from evolvent.envs.sandbox import Ended, Limits, Sandbox

LIMITS = Limits(wall_s=10.0, cpu_s=5.0)
MAX_CHARS = 1500  # of an error that is shown

VERIFY = r"""
import json
_names = {"__name__": "verifier"}
exec(compile(open("verifier.py").read(), "verifier.py", "exec"), _names)
_case = json.load(open("case.json"))
try:
    _names["verify"](_case["answer"], _case["expected"], _case["changes"])
    _said = ""
except AssertionError as error:
    _said = "refused: " + str(error)
print("\n" + NONCE + json.dumps(_said))
"""


@dataclass(frozen=True)
class Ran:
    """What a program came to; `fault` says what went wrong, empty where nothing did."""

    value: Any = None
    fault: str = ""
    ended: Ended = Ended.OK


def run_verifier(sandbox: Sandbox, source: str, answer: Any, expected: Any, changes: Mapping[str, Any]) -> Ran:
    """What a verifier says of an answer and of what changed: nothing where it accepts them, else its complaint."""
    case = {"answer": answer, "expected": expected, "changes": dict(changes)}
    return run_driver(sandbox, VERIFY, {"verifier.py": source.encode(), "case.json": json.dumps(case).encode()})


def run_driver(sandbox: Sandbox, driver: str, files: Mapping[str, bytes]) -> Ran:
    """What a driver prints behind its nonce, read as JSON; or why there is nothing."""
    nonce = secrets.token_hex(8)
    result = sandbox.run(driver.replace("NONCE", repr(nonce)), files=files, limits=LIMITS)
    lines = [line for line in result.stdout.splitlines() if line.startswith(nonce)]
    if result.outcome != Ended.OK or not lines:
        return Ran(None, f"{result.outcome}: {result.stderr[-MAX_CHARS:]}".strip(), result.outcome)
    try:
        return Ran(json.loads(lines[-1][len(nonce) :]))
    except ValueError:
        return Ran(fault="no answer that can be read")
