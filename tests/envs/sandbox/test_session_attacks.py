import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from envs.sandbox.attack_host import EVERY, FULL, ROOT, SECRET, check_host, marked
from envs.sandbox.attack_list import MARK, PRELUDE
from evolvent.envs.sandbox import Ended, Limits
from evolvent.envs.sandbox.choose import probe_all
from evolvent.errors import BadInput

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="attacks on Linux")
LIMITS = Limits(wall_s=2.0, num_processes=16, disk_bytes=16 << 20, file_bytes=4 << 20, num_files=300)
NOISE = """
import os
for number in range(3, 64):
    for fake in (b"0 0\\n", b"{}\\n", b"\\0\\0\\0\\4abcd", b"aaaa 0\\n" * 50, b"\\xff" * 300):
        try: os.write(number, fake)
        except OSError: pass
print("noise")
"""
STAYS = {"container": "what a call leaves running lives until its session ends: another exec per call would double it"}
RUINS = """
import builtins, sys, os, json
sys.stdout = sys.stderr = None
os.write = json.loads = None
for name in ('print', 'exec', 'compile', 'open', 'len', 'int'): setattr(builtins, name, None)
"""


@pytest.fixture(params=FULL)
def sandbox(request, opened, host):
    """A tier with files and processes; nothing is hurt or left when the test is over."""
    yield opened(request.param)
    check_host(host)


def is_fine(sandbox):
    return sandbox.run("print(6 * 7)").stdout == "42\n"


def test_noise_on_every_descriptor_belongs_to_no_later_call(sandbox):
    with sandbox.session(limits=LIMITS) as session:
        session.run(NOISE)
        told = [session.run(f"print('call {number}')") for number in range(4)]
    for number, result in enumerate(told):
        # a forged end lets the forger's own late output spill into its own next call, never the other way
        assert result.outcome in (Ended.KILLED, Ended.FAILED) or result.stdout.endswith(f"call {number}\n"), told
    assert is_fine(sandbox)


def test_an_interpreter_that_ends_itself_is_replaced_and_files_stay(sandbox):
    ends = ("os._exit(3)", "os.kill(os.getpid(), 9)", "os.abort()", "os.closerange(0, 99); os._exit(0)")
    with sandbox.session(limits=LIMITS) as session:
        for end in ends:
            result = session.run(f"import os; x = 1; open('kept', 'w').close(); {end}")
            assert result.exit != 0 or "closerange" in end
            after = session.run("import os; print('x' in globals(), os.listdir())")
            assert after.stdout == "False ['kept']\n", (end, after)


def test_a_call_over_its_limit_ends_and_the_session_goes_on(sandbox):
    with sandbox.session(limits=LIMITS) as session:
        assert session.run("open('kept', 'w').write('here')").outcome is Ended.OK
        assert session.run("while True: pass").outcome is Ended.TIMED_OUT
        assert session.run("while True: print('x' * 999)").outcome is Ended.TOO_MUCH_OUTPUT
        assert session.run("print(open('kept').read())").stdout == "here\n"


def test_signals_ignored_and_threads_left_do_not_outlast_a_limit(sandbox):
    stubborn = PRELUDE + (
        "import threading\nfor n in (1, 2, 15, 24): signal.signal(n, signal.SIG_IGN)\n"
        "threading.Thread(target=lambda: [time.sleep(0.01) for _ in iter(int, 1)]).start()\nwhile True: pass"
    )
    with sandbox.session(limits=LIMITS) as session:
        assert session.run(stubborn).outcome is Ended.TIMED_OUT
        assert session.run("print('fine')").stdout == "fine\n"


def test_a_daemon_is_gone_after_the_call_that_started_it(sandbox):
    daemon = (
        PRELUDE + "if os.fork() == 0:\n  os.setsid()\n  if os.fork() == 0: time.sleep(600)\n  os._exit(0)\nos.wait()"
    )
    with sandbox.session(limits=LIMITS) as session:
        session.run("x = 1")
        session.run(daemon)
        session.run(["python3", "-c", daemon])
        names = "import os; print(x, open(f'/proc/self/comm').read())"
        assert session.run("print(x)").stdout == "1\n", names
        deadline = time.monotonic() + 5
        while len(left := marked()) > 1 and time.monotonic() < deadline:  # the interpreter itself bears the mark
            time.sleep(0.01)
        assert (len(left) <= 1) == (sandbox.name not in STAYS), (left, STAYS)
    assert is_fine(sandbox)


def test_files_are_put_through_no_link(sandbox, host):
    folder, secret = host["secret_folder"], host["secret_file"]
    before = sorted(folder.iterdir())
    trap = f"import os; os.symlink('{folder}', 'd'); os.symlink('{secret}', 'f'); os.mkfifo('p'); os.mkdir('g')"
    with sandbox.session(limits=LIMITS) as session:
        assert session.run(trap).outcome is Ended.OK
        for name in ("d/x", "f", "p", "g", "d/secret.txt"):
            session.run("1", files={name: b"overwritten"})
    assert sorted(folder.iterdir()) == before and secret.read_text("utf-8") == SECRET
    assert is_fine(sandbox)


def test_what_is_kept_is_a_plain_file_of_the_folder_and_nothing_else(sandbox, host):
    secret, folder = host["secret_file"], host["secret_folder"]
    traps = f"""
import os
os.symlink('{secret}', 'link'); os.symlink('{folder}', 'folder'); os.mkfifo('pipe'); os.mkdir('real')
os.symlink('link', 'twice')
for word in (lambda: os.link('{secret}', 'hard'), lambda: os.mknod('device', 0o20666, os.makedev(1, 5))):
    try: word()
    except OSError: pass
open('plain', 'w').write('plain')
with open('sparse', 'wb') as file:
    try: file.truncate(1 << 40)
    except OSError: pass
"""
    names = ["link", "twice", "folder/secret.txt", "pipe", "real", "hard", "device", "plain", "sparse", "nothing"]
    result = sandbox.run(traps, keep=names, limits=LIMITS)
    kept = {name: content for name, content in result.files.items() if name != "sparse"}
    assert kept == {"plain": b"plain"}, result
    assert len(result.files.get("sparse", b"")) <= LIMITS.file_bytes


@pytest.mark.parametrize("tier", EVERY)
@pytest.mark.parametrize(
    "name", ["../x", "/etc/x", "a/../../x", "", "a\0b", ".", "..", "x" * 300, "\ud800", "a/" * 5000]
)
def test_a_path_that_leads_out_is_bad_input(tier, name, opened):
    sandbox = opened(tier)
    for more in ({"files": {name: b"x"}}, {"keep": [name]}):
        with pytest.raises(BadInput):
            sandbox.run("print(1)", **more)


def test_two_sessions_do_not_see_each_other(sandbox):
    with sandbox.session(limits=LIMITS) as one, sandbox.session(limits=LIMITS) as other:
        place = one.run("import os; print(os.getcwd()); _ = open('mine', 'w').write('x' * 99)").stdout.strip()
        one.run("y = 5")
        told = other.run(
            f"for p in ('mine', '{place}/mine'):\n  try: print(open(p).read())\n  except OSError: print('no')"
        )
        assert told.stdout == "no\nno\n", told
        assert other.run("print('y' in globals())").stdout == "False\n"


def test_builtins_in_ruins_hurt_nobody_else(sandbox):
    with sandbox.session(limits=LIMITS) as session:
        session.run(RUINS)
        session.run("1")
        session.run("2")
    assert is_fine(sandbox)


@pytest.mark.parametrize("tier", EVERY)
def test_a_forged_snapshot_is_bad_input_and_a_closed_session_answers_nothing(tier, opened):
    with opened(tier).session(limits=LIMITS) as session:
        for forged in (b"", b"\xff", b"{}x", b"[1]", b'[{"code": 1}]'):
            with pytest.raises(BadInput):
                session.restore(forged)
    with pytest.raises(BadInput):
        session.run("1")
    session.close()


def test_a_session_is_restored_to_its_names_and_files(sandbox):
    with sandbox.session(limits=LIMITS, files={"a": b"1"}) as session:
        session.run("x = 5; open('b', 'w').write('2')")
        state = session.snapshot()
        session.run("x = 6; import os; os.unlink('b'); os.unlink('a')")
        session.restore(state)
        assert session.run("print(x, open('a').read(), open('b').read())").stdout == "5 1 2\n"


@pytest.mark.parametrize("tier", FULL)
def test_nothing_is_left_after_the_parent_was_killed(tier, tmp_path):
    if why := probe_all()[tier]:
        pytest.skip(f"{tier}: {why}")
    body = (
        "import importlib, sys\n"
        f"sandbox = importlib.import_module('evolvent.envs.sandbox.{tier}').open_()\n"
        "session = sandbox.session()\n"
        "session.run('x = 1')\n"
        f"import threading\ncode = {PRELUDE + 'time.sleep(600)'!r}\n"
        "for run in (sandbox.run, session.run): threading.Thread(target=run, args=(code,), daemon=True).start()\n"
        "import time; time.sleep(1.5); print('there', flush=True); time.sleep(600)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "TMPDIR": str(tmp_path)}
    parent = subprocess.Popen([sys.executable, "-c", body], stdout=subprocess.PIPE, env=environment)
    try:
        assert parent.stdout.readline() == b"there\n"
        assert marked(), "both calls are under way"
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.communicate()
    deadline = time.monotonic() + 20
    while (marked() or list(tmp_path.iterdir())) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not marked(), f"{MARK} still runs"
    assert not list(tmp_path.iterdir())
    assert Path("/proc").exists()
