from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from evolvent.errors import VerifierError
from evolvent.rewards.workers import DeadlineError, Workers


@pytest.fixture
def workers() -> Iterator[Workers]:
    made = Workers(2)
    yield made
    made.close()


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_a_worker_answers_and_is_used_again(workers: Workers) -> None:
    first = workers.run("os:getpid", 30.0)
    assert workers.run("os:getpid", 30.0) == first
    assert first != os.getpid()


def test_an_error_in_a_job_is_a_verifier_error_and_the_worker_lives(workers: Workers) -> None:
    pid = workers.run("os:getpid", 30.0)
    with pytest.raises(VerifierError, match="FileNotFoundError"):
        workers.run("os:listdir", 30.0, path="/nowhere")
    assert workers.run("os:getpid", 30.0) == pid


def test_a_hanging_job_is_killed_and_the_next_one_works(workers: Workers) -> None:
    pid = workers.run("os:getpid", 30.0)
    begin = time.monotonic()
    with pytest.raises(DeadlineError, match=r"nothing after 0\.3 s"):
        workers.run("signal:pause", 0.3)
    assert time.monotonic() - begin < 20
    assert workers.run("os:getpid", 30.0) != pid
    assert not Path(f"/proc/{pid}").exists()  # reaped: no zombie


def test_a_crash_costs_one_job(workers: Workers) -> None:
    with pytest.raises(VerifierError, match="died during a job"):
        workers.run("os:abort", 30.0)
    assert workers.run("os:getpid", 30.0)


def test_a_worker_killed_while_idle_is_replaced(workers: Workers) -> None:
    pid = workers.run("os:getpid", 30.0)
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 20
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert workers.run("os:getpid", 30.0) != pid


def test_what_a_job_prints_does_not_disturb_the_answer(workers: Workers) -> None:
    assert workers.run("builtins:print", 30.0) is None
    assert workers.run("os:getpid", 30.0)


def test_threads_share_a_bounded_set_of_workers(workers: Workers) -> None:
    seen: list[int] = []
    threads = [threading.Thread(target=lambda: seen.append(workers.run("os:getpid", 30.0))) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(seen) == 12
    assert len(set(seen)) <= 2


def test_closing_leaves_no_process(workers: Workers) -> None:
    pid = workers.run("os:getpid", 30.0)
    workers.close()
    assert not Path(f"/proc/{pid}").exists()
    assert workers.pids == []


# one worker waits for a job; one hangs in a job while its parent dies, and only the kernel's alarm can end it
@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc")
@pytest.mark.parametrize("job", ["os:getpid", "signal:pause"])
def test_workers_end_with_a_parent_that_was_killed(job: str) -> None:
    code = (
        "import threading, time\n"
        "from evolvent.rewards.workers import Workers\n"
        "workers = Workers(1)\n"
        "pid = workers.run('os:getpid', 60.0)\n"
        f"threading.Thread(target=lambda: workers.run('{job}', 1.0), daemon=True).start()\n"
        "time.sleep(0.3)\n"
        "print(pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    assert is_running(pid)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 30
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_running(pid)
