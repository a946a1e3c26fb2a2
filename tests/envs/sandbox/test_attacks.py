import importlib
import os
import platform
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from envs.sandbox.attack_list import ATTACKS, MARK, PRELUDE, SMALL

from evolvent.envs.sandbox import Ended, Limits
from evolvent.envs.sandbox.choose import TIERS, probe_all
from evolvent.errors import BadInput

ROOT = Path(__file__).resolve().parents[3]
SECRET = secrets.token_hex(8)
GRACE_S = 30.0  # what a loaded machine may need beyond a limit, far less than what the attacks ask for
BY_NAME = {attack.name: attack for attack in ATTACKS}
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="attacks on Linux")
SLOW = {"container": pytest.mark.slow}  # a second or two for each call
EVERY = [pytest.param(tier, marks=SLOW.get(tier, ())) for tier in TIERS]
FULL = [pytest.param(tier, marks=SLOW.get(tier, ())) for tier in TIERS if tier != "monty"]


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    """What the attacks are after: a process, two servers, a secret in the environment, a file, an argument."""
    folder = tmp_path_factory.mktemp("host")
    secret_file = folder / "secret.txt"
    secret_file.write_text(SECRET, "utf-8")
    os.environ["EVOLVENT_TEST_SECRET"] = SECRET
    victim = subprocess.Popen([sys.executable, "-I", "-S", "-c", "import time; time.sleep(3600)", SECRET])
    tcp = socket.create_server(("127.0.0.1", 0))
    local, abstract = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
    local.bind(str(folder / "s"))
    name = f"evolvent-{SECRET}"
    abstract.bind("\0" + name)
    for server in (local, abstract):
        server.listen()
    yield {
        "victim": victim.pid, "port": tcp.getsockname()[1], "abstract": name, "socket_file": folder / "s",
        "secret": SECRET, "secret_file": secret_file, "secret_folder": folder, "repository": ROOT,
        "home": Path.home(), "site_packages": Path(pytest.__file__).parents[1],
    }  # fmt: skip
    del os.environ["EVOLVENT_TEST_SECRET"]
    for server in (tcp, local, abstract):
        server.close()
    victim.kill()
    victim.wait()


@pytest.fixture(scope="module")
def opened(host):
    """Sandboxes by tier, started when the secrets are there to be found."""
    made = {}

    def open_one(tier):
        if why := probe_all()[tier]:
            pytest.skip(f"{tier}: {why}")
        if tier not in made:
            made[tier] = importlib.import_module(f"evolvent.envs.sandbox.{tier}").open_()
        return made[tier]

    yield open_one
    for sandbox in made.values():
        sandbox.close()


def filled(code, host):
    for key, value in host.items():
        code = code.replace(f"@{key}@", str(value))
    return PRELUDE + code


def attacked(sandbox, attack, host, run=None):
    """The result, after looking that the attack has changed nothing and nobody else."""
    start = time.monotonic()
    code = filled(attack.code, host) if attack.needs or sandbox.name != "monty" else attack.code
    result = (run or sandbox.run)(code, stdin=attack.stdin, **({} if run else {"limits": attack.limits}))
    assert time.monotonic() - start < attack.limits.wall_s + GRACE_S
    check_host(host)
    assert sandbox.run("print(6 * 7)").stdout == "42\n", "the next call is an honest one"
    return result


def check_host(host):
    """Nobody is hurt, nothing is left."""
    assert Path(f"/proc/{host['victim']}/stat").read_text("utf-8").split()[2] in "SR", "the victim is dead or stopped"
    assert host["secret_file"].read_text("utf-8") == SECRET
    assert host["secret_file"].stat().st_mode & 0o777 == 0o644 or os.umask(os.umask(0)) != 0o022
    assert host["secret_file"].stat().st_mtime > 1000
    assert not [name for name in os.listxattr(host["secret_file"]) if MARK in name]
    for folder in ("/dev/shm", "/tmp", "/usr", "/usr/bin", "/etc", "/var/tmp", "/dev/mqueue", str(ROOT)):
        assert not [p for p in Path(folder).glob(f"*{MARK}*")], f"left in {folder}"
    assert "1702260577" not in Path("/proc/sysvipc/shm").read_text("utf-8"), "a segment is left"
    deadline = time.monotonic() + 5
    while (left := marked()) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not left, "processes are left"


def marked():
    found = []
    for path in Path("/proc").glob("[0-9]*/comm"):
        try:
            if MARK in path.read_text("utf-8") and int(path.parent.name) != os.getpid():
                found.append(path.parent.name)
        except OSError:
            pass
    return found


@pytest.mark.parametrize("tier", EVERY)
@pytest.mark.parametrize("name", BY_NAME)
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
    """Attacks that do breach a plain interpreter; those that eat much are slow."""
    greedy = ("bomb", "memory", "disk", "without end", "too large")
    for attack in ATTACKS:
        if attack.works_bare:
            eats = any(word in attack.name for word in greedy)
            yield pytest.param(attack, id=attack.name, marks=[pytest.mark.slow] if eats else [])


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
