"""Runs a task's scorer in a process of its own, where no line of an artifact ever runs: predictions come in as bytes.

Started from its path as `python -I -B`; nothing but the standard library may be imported here. The scorer's text is
run once, and each question is answered by a fork of its own, so that no answer can depend on an earlier one.
"""

from __future__ import annotations

import binascii
import json
import math
import os
import resource
import sys
import traceback
import types
from pathlib import Path
from typing import Any, NoReturn

SCORER = "sealed/score.py"  # as its owner knows it
MAX_CASES = 100_000


class Invalid(Exception):
    """Predictions that cannot be scored, and why."""


def main() -> None:
    """Answer questions until they end: a header of one line and predictions come in, a line of JSON goes out."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what the scorer prints is log
    scorer = None
    for line in iter(sys.stdin.buffer.readline, b""):
        header = json.loads(line)
        written = [sys.stdin.buffer.read(size) for size in header.get("sizes", ())]
        scorer = scorer or _load(header["scorer"])
        answers.write(_ask_a_fork(scorer, header, written) + b"\n")
        answers.flush()


def _ask_a_fork(scorer: types.ModuleType, header: dict[str, Any], written: list[bytes]) -> bytes:
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(ours)
        _answer_and_end(scorer, header, written, theirs)
    os.close(theirs)
    with os.fdopen(ours, "rb") as stream:
        said = stream.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return said if said and not status else json.dumps({"broke": f"exit {status}"}).encode()


def _answer_and_end(scorer: types.ModuleType, header: dict[str, Any], written: list[bytes], answers: int) -> NoReturn:
    try:
        _limit(header["seconds"], header["memory_bytes"])
        with os.fdopen(answers, "wb") as stream:
            stream.write(json.dumps(_answer(scorer, header, written), allow_nan=False).encode())
        status = 0
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 1
        status = status or 1  # it left without an answer
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def read_json(data: bytes) -> Any:
    """JSON as its standard has it: no NaN, no key twice; what is nested too deep or has endless digits is refused."""
    try:
        return json.loads(data.decode("utf-8"), parse_constant=_refuse, object_pairs_hook=_pairs, parse_float=_number)
    except (ValueError, RecursionError) as error:
        raise Invalid(f"the predictions are not JSON: {error}") from None


def _load(path: str) -> types.ModuleType:
    # its text is compiled here: an import would leave a cache beside the sealed files
    sys.modules["scoring"] = sys.modules["__main__"]  # for `from scoring import Invalid, read_json`
    scorer = types.ModuleType("scorer")
    scorer.__file__ = path
    exec(compile(Path(path).read_bytes(), SCORER, "exec"), scorer.__dict__)
    return scorer


def _answer(scorer: types.ModuleType, header: dict[str, Any], written: list[bytes]) -> dict[str, Any]:
    data = Path(header["data"])
    if not callable(getattr(scorer, header["verb"], None)):
        raise TypeError(f"{SCORER} has no function {header['verb']}")
    if header["verb"] == "pose":
        files = scorer.pose(header["seed"], data)
        return {
            "files": {name: binascii.b2a_base64(content, newline=False).decode() for name, content in files.items()}
        }
    try:
        found = scorer.score(header["seed"], data, *written, *([header["times"]] if header["times"] else []))
    except Invalid as error:
        return {"invalid": str(error)[:500]}
    except Exception as error:
        # its questions were asked already and the baseline was scored: it is these predictions that it cannot read
        traceback.print_exc()  # not told: it may quote the predictions, and they the questions
        at = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == SCORER]
        return {"invalid": f"the scorer cannot read the predictions: {type(error).__name__}", "line": at[-1:]}
    return {"cases": _check_cases(found)}


def _check_cases(found: Any) -> list[float]:
    cases = list(found) if isinstance(found, list | tuple) else [found]
    if not 1 <= len(cases) <= MAX_CASES:
        raise ValueError(f"the scorer gave {len(cases)} numbers")
    for number in cases:
        if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
            raise ValueError(f"the scorer gave {number!r}, which is no finite number")
    return [float(number) for number in cases]


def _limit(seconds: float, memory_bytes: int) -> None:
    for kind, most in (
        (resource.RLIMIT_CPU, math.ceil(seconds)),
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(kind)[1]
        resource.setrlimit(kind, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def _refuse(word: str) -> float:
    raise ValueError(f"{word} is no number")


def _number(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _refuse(text if len(text) <= 8 else f"{text[:8]}...")


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is there twice")
    return found


if __name__ == "__main__":
    main()
