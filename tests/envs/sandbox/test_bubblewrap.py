import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolvent.envs.sandbox.bubblewrap import GRACE_S, Bubblewrap, open_, probe
from evolvent.envs.sandbox.cgroups import PREFIX, open_groups
from evolvent.envs.sandbox.limits import Ended, Limits
from evolvent.envs.sandbox.names import check_names
from evolvent.envs.sandbox.warm import _cure
from evolvent.errors import BadInput, InfrastructureError

ROOT = Path(__file__).resolve().parents[3]
why_not = probe()
pytestmark = pytest.mark.skipif(bool(why_not), reason=why_not)

SHORT = Limits(wall_s=1.0, cpu_s=5.0, memory_bytes=128 * 2**20, disk_bytes=8 * 2**20, file_bytes=4 * 2**20)


@pytest.fixture(scope="module")
def sandbox():
    opened = open_()
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def watched():
    """One that may not make control groups, and counts memory by looking."""
    opened = Bubblewrap()
    if opened._groups:
        opened._groups.close()
    opened._groups = None
    opened.start()
    yield opened
    opened.close()


def test_a_program_prints_reads_its_stdin_and_ends_with_its_status(sandbox):
    code = "import sys\nprint(sys.stdin.read().upper())\nprint('oops', file=sys.stderr)\nsys.exit(3)"
    result = sandbox.run(code, stdin="grüße")
    assert (result.stdout, result.stderr, result.exit, result.outcome) == ("GRÜSSE\n", "oops\n", 3, Ended.FAILED)
    assert 0 < result.usage.cpu_s < 10 and result.usage.max_memory_bytes > 2**20


def test_an_uncaught_error_shows_the_lines_of_its_author_and_no_others(sandbox):
    result = sandbox.run("def f():\n    return 1 / 0\n\nf()\n")
    assert result.outcome is Ended.FAILED and result.exit == 1
    assert "return 1 / 0" in result.stderr and "python_inside" not in result.stderr
    assert result.stderr.count("File ") == 2, result.stderr
    assert "SyntaxError" in sandbox.run("def").stderr


def test_a_command_runs_with_the_tools_of_the_system(sandbox):
    result = sandbox.run(["/bin/sh", "-c", "sort | head -2; exit 7"], stdin="c\nb\na\n")
    assert (result.stdout, result.exit) == ("a\nb\n", 7)
    missing = sandbox.run(["no-such-program"])
    assert missing.exit == 127 and "not found" in missing.stderr
    assert sandbox.run(["a\0b"]).exit == 126
    with pytest.raises(BadInput, match="first word"):
        sandbox.run([])


def test_files_go_in_and_come_back_and_are_gone_in_the_next_call(sandbox):
    files = {"in/data.txt": b"\x00\xff1", "run.sh": b"#!/bin/sh\ncat in/data.txt in/data.txt > out.bin\nmkdir d\n"}
    result = sandbox.run(["./run.sh"], files=files, keep=["out.bin", "in/data.txt", "d", "missing"])
    assert result.outcome is Ended.OK, result
    assert result.files == {"out.bin": b"\x00\xff1" * 2, "in/data.txt": b"\x00\xff1"}
    assert sandbox.run("import os; print(os.listdir('.'), os.listdir('/tmp'), os.listdir('/dev/shm'))").stdout == (
        "[] [] []\n"
    )


def test_what_is_kept_is_a_regular_file_and_reached_through_no_link(sandbox):
    code = """import os
os.symlink('/etc/passwd', 'link'); os.mkfifo('pipe'); os.symlink('/etc', 'folder')
for name in 'abc': open(name, 'wb').truncate(3 * 2**20)"""
    result = sandbox.run(code, keep=["link", "pipe", "folder/passwd", "a", "b", "c"], limits=SHORT)
    assert list(result.files) == ["a", "b"], "no link, no pipe, no linked folder, no more than the disk may hold"


@pytest.mark.parametrize(
    "name", ["", "/etc/passwd", "../x", "a/../../x", "a//b", "./a", "a\0b", "\ud800", "x" * 256, "a/" * 600 + "b"]
)
def test_a_bad_name_of_a_file_is_refused_before_anything_runs(sandbox, name):
    with pytest.raises(BadInput, match="name of a file"):
        sandbox.run("", files={name: b""})
    with pytest.raises(BadInput, match="name of a file"):
        sandbox.run("", keep=[name])


@given(st.text())
def test_a_name_that_passes_stays_below_its_folder(name):
    try:
        check_names([name])
    except BadInput:
        return
    assert os.path.normpath(f"/home/{name}") == f"/home/{name}" and "\0" not in name


def test_files_beyond_the_limits_are_the_callers_mistake(sandbox):
    with pytest.raises(BadInput, match="do not fit") as caught:
        sandbox.run("", files={"large": b"x" * (SHORT.file_bytes + 1)}, limits=SHORT)
    assert "file_bytes" in caught.value.cure


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        ("import time; time.sleep(60)", Ended.TIMED_OUT),
        ("while 1: pass", Ended.TIMED_OUT),
        ("import signal; signal.signal(signal.SIGXCPU, lambda *_: None)\nwhile 1: pass", Ended.TIMED_OUT),
        ("while 1: print('x' * 1000)", Ended.TOO_MUCH_OUTPUT),
        ("x = bytearray(2**30)", Ended.OUT_OF_MEMORY),
        ("import os, ctypes; ctypes.string_at(0)", Ended.KILLED),
    ],
)
def test_each_limit_has_its_outcome_and_a_bound_on_the_wait(sandbox, code, outcome):
    start = time.monotonic()
    result = sandbox.run(code, limits=replace(SHORT, cpu_s=0.5) if "SIGXCPU" in code else SHORT)
    assert result.outcome is outcome, result
    assert result.exit != 0 and len(result.stdout) <= SHORT.output_bytes
    assert time.monotonic() - start < SHORT.wall_s + GRACE_S


CHILDREN = """import os, time
for _ in range(6):
    if os.fork() == 0:
        x = bytearray(60 * 2**20)
        for i in range(0, len(x), 4096): x[i] = 1
        time.sleep(10)
        os._exit(0)
for _ in range(6):
    if os.wait()[1]: raise SystemExit(9)
"""


def test_memory_counts_for_all_processes_together(sandbox, watched):
    for tier in (sandbox, watched):
        result = tier.run(CHILDREN, limits=replace(SHORT, wall_s=8.0))
        assert result.outcome is Ended.OUT_OF_MEMORY, result
        assert result.usage.max_memory_bytes < 3 * SHORT.memory_bytes


FORKS = """import os, time
n = 0
try:
    while True:
        if os.fork() == 0: time.sleep(5); os._exit(0)
        n += 1
except OSError: print(n)
"""


def test_processes_are_counted_for_each_call_alone(sandbox, watched):
    for tier in (sandbox, watched):
        results = _at_once([lambda tier=tier: tier.run(FORKS, limits=replace(SHORT, num_processes=12))] * 3)
        assert [result.stdout for result in results] == ["11\n"] * 3, results


def test_the_folder_the_temporary_one_and_shared_memory_are_small_together(sandbox):
    code = """import errno
total = 0
for folder in ('.', '/tmp', '/dev/shm'):
    try:
        for i in range(100):
            with open(f'{folder}/{i}', 'wb') as file: file.write(b'x' * 2**20)
            total += 1
    except OSError as error: print(errno.errorcode[error.errno])
print(total <= 8)"""
    assert sandbox.run(code, limits=SHORT).stdout == "ENOSPC\nENOSPC\nENOSPC\nTrue\n"
    many = "n = 0\nwhile True:\n    open(str(n), 'w').close()\n    n += 1\n    if n > 50: print('too many')"
    result = sandbox.run(many, limits=replace(SHORT, num_files=20))
    assert "No space left" in result.stderr and "too many" not in result.stdout


def test_nothing_of_the_host_can_be_seen_or_changed(sandbox, monkeypatch):
    monkeypatch.setenv("SECRET_OF_THE_HOST", "42")
    code = """import os, socket
tries = {
  'write /usr': lambda: open('/usr/x', 'w'), 'write /': lambda: open('/x', 'w'),
  'write /etc': lambda: open('/etc/x', 'w'), 'write /dev': lambda: open('/dev/x', 'w'),
  'shadow': lambda: open('/etc/shadow'), 'pattern': lambda: open('/proc/sys/kernel/core_pattern', 'w'),
  'socket': lambda: socket.socket(), 'root': lambda: os.listdir('/proc/1/root'), 'memory': lambda: open('/proc/1/mem'),
  'import': lambda: __import__('evolvent'), 'kill': lambda: os.kill(os.getppid() or 99999, 9),
  'secret': lambda: os.environ['SECRET_OF_THE_HOST'],
  'maps': lambda: os.write(os.open('/proc/self/uid_map', 1), b'0 0 1'),
}
for name, attempt in tries.items():
    try: attempt(); print('escaped', name)
    except (OSError, ImportError, KeyError): pass
os.kill(1, 9)
print(os.listdir('/root') if os.path.isdir('/root') else [], sorted(p for p in os.listdir('/proc') if p.isdigit()))
"""
    result = sandbox.run(code)
    assert "escaped" not in result.stdout and result.outcome is Ended.OK, result
    assert str(ROOT) not in sandbox.run(["/bin/sh", "-c", "cat /proc/mounts; env; ls / /root"]).stdout


def test_a_call_cannot_signal_what_is_outside_nor_hold_what_answers_for_it(sandbox):
    code = """import os, signal
print(sorted(int(n) for n in os.listdir('/proc/self/fd'))[:-1])
for target in (0, -1):
    try: signal.signal(signal.SIGTERM, signal.SIG_IGN); os.kill(target, signal.SIGTERM)
    except OSError: pass
for fd in range(3, 64):
    try: os.write(fd, b'{"exit": 0, "ended": "ok"}')
    except OSError: pass
raise SystemExit(5)"""
    result = sandbox.run(code)
    assert (result.stdout, result.exit) == ("[0, 1, 2]\n", 5), result


def test_what_a_call_leaves_running_ends_with_it(sandbox):
    mark = f"31.{os.getpid()}"
    sandbox.run(["/bin/sh", "-c", f"setsid sleep {mark} >/dev/null 2>&1 & sleep 0.05"])
    assert not _processes_of(mark)


def test_a_call_changes_the_limits_and_the_priority_of_nobody_else(sandbox):
    code = """import os, resource
for attempt in (
    lambda: resource.prlimit(1, resource.RLIMIT_CPU, (0, 0)),
    lambda: os.sched_setscheduler(1, os.SCHED_IDLE, os.sched_param(0)),
    lambda: os.sched_setaffinity(1, {0}),
    lambda: os.setpriority(os.PRIO_PROCESS, 1, 19),
    lambda: os.setpriority(os.PRIO_USER, 0, 19),
):
    try: attempt(); print('done')
    except PermissionError: pass
resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32)); os.nice(5); print('own')"""
    assert sandbox.run(code).stdout == "own\n"


def test_stdin_cannot_be_written_or_made_larger(sandbox):
    code = """import os
for attempt in (lambda: os.write(0, b'x'), lambda: os.ftruncate(0, 2**20)):
    try: attempt(); print('done')
    except OSError: pass"""
    assert sandbox.run(code, stdin="a").stdout == ""


ORDINARY = """import asyncio, multiprocessing, sqlite3, subprocess, tempfile, threading
def square(x): return x * x
said = []
thread = threading.Thread(target=said.append, args=("thread",)); thread.start(); thread.join()
said.append(subprocess.run(["python3", "-c", "print('child')"], capture_output=True, text=True).stdout.strip())
with multiprocessing.get_context("fork").Pool(2) as pool: said.append(pool.map(square, range(3)))
async def main(): await asyncio.sleep(0.01); return "async"
said.append(asyncio.run(main()))
with tempfile.NamedTemporaryFile() as file: said.append(file.name.startswith("/tmp/"))
base = sqlite3.connect("base.db"); said.append(base.execute("select 1").fetchone())
print(said)
"""


def test_ordinary_programs_find_what_they_need(sandbox):
    result = sandbox.run(ORDINARY)
    assert result.stdout == "['thread', 'child', [0, 1, 4], 'async', True, (1,)]\n", result


def test_many_threads_call_at_once_and_each_gets_its_own_answer(sandbox):
    calls = [lambda n=n: sandbox.run("print(input())", stdin=f"{n}\n") for n in range(16)]
    assert [result.stdout for result in _at_once(calls)] == [f"{n}\n" for n in range(16)]


def test_chance_differs_from_call_to_call_and_the_order_of_sets_does_not(sandbox):
    a, b = (sandbox.run("import random; print(random.random())").stdout for _ in range(2))
    assert a != b
    a, b = (sandbox.run("print({'a', 'b', 'c', 'd'})").stdout for _ in range(2))
    assert a == b


@pytest.mark.parametrize("who", ["all of it", "bubblewrap alone"])
def test_a_dead_zygote_is_started_anew(sandbox, who):
    assert sandbox.run("print(1)").stdout == "1\n"
    keeper = sandbox._zygote._keeper.pid
    if who == "all of it":
        os.killpg(keeper, signal.SIGKILL)
    else:
        os.kill(int(Path(f"/proc/{keeper}/task/{keeper}/children").read_text().split()[0]), signal.SIGKILL)

    def answers():
        try:
            said = sandbox.run("print(2)").stdout
        except InfrastructureError:
            time.sleep(0.1)  # the old one was on its way down
            return False
        return said == "2\n" and sandbox._zygote._keeper.pid != keeper  # a box made before may outlive its maker

    _wait(answers, "no new one came up")


def test_a_zygote_that_does_not_answer_is_replaced_and_waited_for_no_longer_than_the_deadline():
    sandbox = Bubblewrap(grace_s=0.5)
    sandbox.start()
    keeper = sandbox._zygote._keeper.pid
    outer = Path(f"/proc/{keeper}/task/{keeper}/children").read_text().split()[0]
    inner = Path(f"/proc/{outer}/task/{outer}/children").read_text().split()[0]
    for pid in Path(f"/proc/{inner}/task/{inner}/children").read_text().split():
        boxes = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for frozen in (pid, *boxes):
            with contextlib.suppress(ProcessLookupError):  # one that was there for a moment
                os.kill(int(frozen), signal.SIGSTOP)
    start = time.monotonic()
    with pytest.raises(InfrastructureError, match="did not answer"):
        sandbox.run("print(1)", limits=replace(SHORT, wall_s=0.1))
    assert time.monotonic() - start < GRACE_S
    sandbox.grace_s = GRACE_S
    assert sandbox.run("print(2)").stdout == "2\n"
    sandbox.close()


def test_what_goes_wrong_at_the_start_is_said():
    broken = Bubblewrap(preload=["no_such_module"])
    with pytest.raises(InfrastructureError, match="no_such_module"):
        broken.start()
    broken.close()


def test_a_machine_that_forbids_user_namespaces_gets_the_cure():
    assert "apparmor" in _cure("bwrap: setting up uid map: Permission denied")
    assert "apparmor" in _cure("bwrap: loopback: Failed RTM_NEWADDR: Operation not permitted")


def test_a_closed_sandbox_says_so():
    closed = open_()
    closed.close()
    closed.close()
    with pytest.raises(BadInput, match="closed"):
        closed.run("1")


LIVE = """
import sys, time
from evolvent.envs.sandbox.bubblewrap import open_
sandbox = open_()
session = sandbox.session()
session.run("x = 1")
print("up", *(sandbox._groups.homes if sandbox._groups else ()), flush=True)
session.run(["sleep", sys.argv[1]])
"""


def test_kill_9_of_the_caller_leaves_no_process_and_no_group():
    mark = f"77.{os.getpid()}"
    caller = subprocess.Popen([sys.executable, "-c", LIVE, mark], stdout=subprocess.PIPE, text=True)
    homes = [Path(home) for home in caller.stdout.readline().split()[1:]]
    _wait(lambda: _processes_of(mark), "the session never started")
    caller.kill()
    caller.wait()
    caller.stdout.close()
    _wait(lambda: not _processes_of(mark), f"still there: {_processes_of(mark)}")
    _wait(lambda: not any(home.exists() for home in homes), f"groups are left: {homes}")


def test_groups_of_dead_processes_are_swept_at_the_next_start():
    groups = open_groups()
    if groups is None:
        pytest.skip("control groups cannot be made here")
    stale = [home.parent / f"{PREFIX}{os.getpid()}-1-0" for home in groups.homes]  # this number, another process
    for home in stale:
        (home / "1").mkdir(parents=True)
    open_groups().close()
    groups.close()
    assert not any(home.exists() for home in stale) and not any(home.exists() for home in groups.homes)


def test_an_unprivileged_user_has_the_same_sandbox():
    python = shutil.which("python3", path="/usr/bin")
    if os.getuid() != 0 or not python or not shutil.which("setpriv"):
        pytest.skip("needs root, to become nobody, and an interpreter that nobody may start")
    code = """import json
from evolvent.envs.sandbox.bubblewrap import Bubblewrap
sandbox = Bubblewrap()
sandbox.start()
with sandbox.session() as session:
    said = [sandbox.run("import os; print(os.getuid())").stdout, session.run("x = 2").exit, session.run("x").stdout]
sandbox.close()
print(json.dumps(said))"""
    words = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", python, "-c", code]
    packages = [path for path in sys.path if path.endswith("site-packages")]
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), *packages])}
    done = subprocess.run(words, env=env, cwd="/", capture_output=True, text=True, timeout=60, check=False)
    if "No module named" in done.stderr or "Permission denied" in done.stderr.partition("bubblewrap")[0]:
        pytest.skip(f"nobody cannot start the project here: {done.stderr[-200:]}")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == ["1000\n", 0, "2\n"]


def _at_once(calls):
    results = [None] * len(calls)

    def fill(place, call):
        results[place] = call()

    threads = [threading.Thread(target=fill, args=pair) for pair in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return results


def _processes_of(mark):
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if b"sleep" in words and mark.encode() in words:
            found.append(path.parent.name)
    return found


def _wait(holds, complaint):
    until = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < until, complaint
        time.sleep(0.02)
