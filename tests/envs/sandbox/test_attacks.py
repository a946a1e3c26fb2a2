import os
import platform
import shutil
import signal
import subprocess
import sys
import time

import pytest

from envs.sandbox.attack_host import EVERY, SECRET, check_host, filled
from envs.sandbox.attack_list import ATTACKS
from evolvent.envs.sandbox import Ended

GRACE_S = 30.0  # what a loaded machine may need beyond a limit, far less than what the attacks ask for
LONG = pytest.mark.slow  # each a second or more, and another of its kind is not
LASTING = {
    "memory bomb by shared pages of children", "memory bomb", "disk fill of /tmp", "files without end",
    "memory that no process has", "folders without a bottom", "folders that nobody may look into",
    "fork bomb that doubles", "signals ignored", "stack bomb", "a loop past the limit",
}  # fmt: skip
BY_NAME = {attack.name: attack for attack in ATTACKS}
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="attacks on Linux")


def attacked(sandbox, attack, host, run=None):
    """The result, after looking that the attack has changed nothing and nobody else."""
    start = time.monotonic()
    code = filled(attack.code, host) if attack.needs or sandbox.name != "monty" else attack.code
    result = (run or sandbox.run)(code, stdin=attack.stdin, **({} if run else {"limits": attack.limits}))
    assert time.monotonic() - start < attack.limits.wall_s + GRACE_S
    check_host(host)
    assert sandbox.run("print(6 * 7)").stdout == "42\n", "the next call is an honest one"
    return result


@pytest.mark.parametrize("tier", EVERY)
@pytest.mark.parametrize("name", [pytest.param(n, marks=LONG if n in LASTING else ()) for n in BY_NAME])
def test_an_attack_is_refused_or_contained(tier, name, opened, host):
    sandbox, attack = opened(tier), BY_NAME[name]
    if platform.machine() != "x86_64" and "call(" in attack.code:
        pytest.skip("numbers of system calls are those of x86-64")
    result = attacked(sandbox, attack, host)
    told = f"{result.outcome} {result.exit} {result.stdout[-1000:]} {result.stderr[-1000:]}"
    if tier == "monty" and attack.needs:
        assert result.outcome is Ended.FAILED and "Error" in result.stderr and "BREACH" not in result.stdout, told
        return
    assert ("BREACH" in result.stdout) == (tier in attack.seen), f"{attack.seen.get(tier, 'breached')}: {told}"
    assert result.outcome in attack.ends, told
    assert "TRIED" in result.stdout or result.outcome is not Ended.FAILED, f"it never came to its point: {told}"
    assert len(result.stdout.encode()) <= attack.limits.output_bytes + 2
    assert SECRET not in result.stdout + result.stderr.replace(str(host["abstract"]), "")


def bare():
    """Attacks that do breach a plain interpreter; those that eat much are not tried on whoever runs the tests."""
    greedy = ("bomb", "memory", "disk", "without end", "too large")
    return [
        pytest.param(attack, id=attack.name)
        for attack in ATTACKS
        if attack.works_bare and not any(word in attack.name for word in greedy)
    ]


@pytest.mark.parametrize("attack", bare())
def test_an_attack_is_a_real_one_where_nothing_holds_it(attack, host, tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", filled(attack.code, host)], cwd=tmp_path, text=True, start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        line = ""
        while "BREACH" not in line and (line := process.stdout.readline()):
            pass
        assert "BREACH" in line
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        shutil.rmtree(tmp_path)
