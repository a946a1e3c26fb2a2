"""Runs an agent as a process in a group of its own, and reads its answer; no child outlives its task."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal

from evolvent.serve.errand import API_KEY, LAST_LINE, MODEL, AgentFailed, Errand, answer_of

MAX_OUTPUT_BYTES = 1 << 20
POLL_S = 0.005
LATE_S = 0.2


async def run_process(words: list[str], errand: Errand) -> str:
    """What a process of its own says to the task; it is ended with its group and all that descend from it."""
    argv = [word.replace("{question}", str(errand.task["question"])) for word in words]
    try:
        process = await asyncio.create_subprocess_exec(
            *argv, env=_environment(errand), start_new_session=True,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
    except OSError as error:
        raise AgentFailed(f"{argv[0]}: {error.strerror}") from error
    reads = [asyncio.ensure_future(_read(stream)) for stream in (process.stdout, process.stderr)]
    try:
        await _tell(process, errand)
        status = await _exited(process)
    finally:
        _end(process.pid)
        done, late = await asyncio.wait(reads, timeout=LATE_S)
        if late:  # a child that left the group holds the pipe open
            _end_those_with(errand.base_url)
            done, late = await asyncio.wait(reads, timeout=LATE_S)
        for read in late:
            read.cancel()
        await _exited(process)
        process._transport.close()  # type: ignore[attr-defined]  # else it is closed by whoever collects it, too late
    output, errors = (read.result() if read in done else b"" for read in reads)
    if status != 0:
        raise AgentFailed(f"exit status {status}: {errors.decode(errors='replace').strip() or 'no words on stderr'}")
    return _printed(output.decode(errors="replace"), errand.answer_is)


async def _exited(process: asyncio.subprocess.Process) -> int:
    """The exit status; wait() would wait for whoever else holds the pipes as well."""
    while process.returncode is None:
        await asyncio.sleep(POLL_S)
    return process.returncode


def _environment(errand: Errand) -> dict[str, str]:
    near = ",".join(filter(None, [os.environ.get("NO_PROXY", ""), "127.0.0.1", "localhost"]))
    address = {"OPENAI_BASE_URL": errand.base_url, "OPENAI_API_BASE": errand.base_url, "OPENAI_API_KEY": API_KEY}
    return {**os.environ, **address, "OPENAI_MODEL": MODEL, "NO_PROXY": near, "no_proxy": near}


async def _tell(process: asyncio.subprocess.Process, errand: Errand) -> None:
    assert process.stdin is not None
    with contextlib.suppress(ConnectionError):  # an agent may read its task elsewhere, or not at all
        process.stdin.write(json.dumps(errand.task).encode() + b"\n")
        await process.stdin.drain()
    process.stdin.close()


async def _read(stream: asyncio.StreamReader | None) -> bytes:
    """The last bytes of a stream; what is older than the limit is forgotten."""
    assert stream is not None
    kept = bytearray()
    while piece := await stream.read(1 << 16):
        kept += piece
        del kept[:-MAX_OUTPUT_BYTES]
    return bytes(kept)


def _end(process_id: int) -> None:
    """End a process with its group and all that descend from it."""
    import psutil

    with contextlib.suppress(psutil.Error):
        for child in psutil.Process(process_id).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                child.kill()
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process_id, signal.SIGKILL)


def _end_those_with(base_url: str) -> None:
    """End what an agent left behind elsewhere: its children have its address in their environment."""
    import psutil

    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("OPENAI_BASE_URL") == base_url:
                process.kill()


def _printed(output: str, answer_is: str) -> str:
    lines = [line for line in output.splitlines() if line.strip()]
    last = lines[-1].strip() if lines else ""
    with contextlib.suppress(ValueError, RecursionError):
        found = json.loads(last)
        if isinstance(found, dict) and "answer" in found:
            return answer_of(found)
    return last if answer_is == LAST_LINE else output.strip()
