import json
import signal
import threading
import time
from dataclasses import replace

import pytest

from evolvent.envs.sandbox.bubblewrap import GRACE_S, open_, probe
from evolvent.envs.sandbox.limits import Ended, Limits
from evolvent.errors import BadInput, InfrastructureError

why_not = probe()
pytestmark = pytest.mark.skipif(bool(why_not), reason=why_not)
SHORT = Limits(wall_s=0.5, memory_bytes=128 * 2**20, disk_bytes=8 * 2**20, file_bytes=4 * 2**20, output_bytes=4096)


@pytest.fixture(scope="module")
def sandbox():
    opened = open_()
    yield opened
    opened.close()


def test_names_stay_from_cell_to_cell_and_the_last_value_is_shown(sandbox):
    with sandbox.session() as session:
        assert session.run("import math\nx = 20").stdout == ""
        assert session.run("def f(n):\n    return n + math.floor(2.5)\nf(x)").stdout == "22\n"
        assert session.run("_ * 2").stdout == "44\n"
        assert session.run("None").stdout == ""


def test_an_error_or_an_exit_ends_a_cell_and_keeps_the_names(sandbox):
    with sandbox.session() as session:
        session.run("x = 1")
        failed = session.run("x = 2\n1 / 0")
        assert failed.outcome is Ended.FAILED and "ZeroDivisionError" in failed.stderr
        assert session.run("raise SystemExit(4)").exit == 4
        assert session.run("x").stdout == "2\n"


def test_commands_and_cells_share_their_folder(sandbox):
    with sandbox.session(files={"first.txt": b"one"}) as session:
        assert session.run(["cat", "first.txt"]).stdout == "one"
        session.run("open('second.txt', 'w').write('two')")
        kept = session.run(["/bin/sh", "-c", "cat *.txt > all"], files={"third.txt": b"three"}, keep=["all"])
        assert kept.files == {"all": b"onetwothree"}
        assert session.run("import os; sorted(os.listdir())").stdout == (
            "['all', 'first.txt', 'second.txt', 'third.txt']\n"
        )


def test_two_sessions_never_see_each_other(sandbox):
    with sandbox.session() as a, sandbox.session() as b:
        a.run("x = 1; open('here', 'w').close()")
        assert "NameError" in b.run("x").stderr
        assert b.run("import os; os.listdir()").stdout == "[]\n"


def test_stdin_is_that_of_the_call(sandbox):
    with sandbox.session() as session:
        assert session.run("input()", stdin="a\nb").stdout == "'a'\n"
        assert "EOFError" in session.run("input()").stderr
        assert session.run("input()", stdin="c").stdout == "'c'\n"
        assert session.run(["cat"], stdin="d" * 100_000).stdout[:1] == "d"


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        ("while 1: pass", Ended.TIMED_OUT),
        (["sleep", "60"], Ended.TIMED_OUT),
        ("while 1: print('x' * 1000)", Ended.TOO_MUCH_OUTPUT),
        ("import os; os._exit(0)", Ended.OK),
        ("import os; os.kill(os.getpid(), 9)", Ended.KILLED),
    ],
)
def test_a_call_that_ends_its_interpreter_loses_the_names_and_not_the_files(sandbox, code, outcome):
    start = time.monotonic()
    with sandbox.session(limits=SHORT) as session:
        session.run("x = 1; open('here', 'w').close()")
        assert session.run(code).outcome is outcome
        assert "NameError" in session.run("x").stderr
        assert session.run("import os; os.listdir()").stdout == "['here']\n"
    assert time.monotonic() - start < SHORT.wall_s + GRACE_S


def test_memory_that_a_cell_cannot_have_is_an_outcome_and_no_end(sandbox):
    with sandbox.session(limits=SHORT) as session:
        session.run("x = 1")
        assert session.run("y = bytearray(2**30)").outcome is Ended.OUT_OF_MEMORY
        assert session.run("x").stdout == "1\n"


def test_the_time_of_computing_starts_anew_with_each_cell(sandbox):
    burn = "import time\nt = time.process_time()\nwhile time.process_time() - t < 0.12: pass"
    with sandbox.session(limits=replace(SHORT, wall_s=20.0, cpu_s=0.3)) as session:
        results = [session.run(burn) for _ in range(3)]
        assert [result.outcome for result in results] == [Ended.OK] * 3
        assert all(0.1 < result.usage.cpu_s < 0.3 for result in results)
        assert session.run("while 1: pass").outcome is Ended.TIMED_OUT


def test_what_a_call_leaves_running_is_gone_and_the_interpreter_is_not(sandbox):
    with sandbox.session() as session:
        session.run("x = 1")
        session.run(["/bin/sh", "-c", "sleep 100 & setsid sleep 100 & sleep 0.05"])
        session.run("import subprocess; p = subprocess.Popen(['sleep', '100'])")
        alive = "[p for p in os.listdir('/proc') if p.isdigit() and open(f'/proc/{p}/stat').read().split()[2] != 'Z']"
        assert session.run(f"import os; len({alive})").stdout == "2\n"
        assert session.run("x").stdout == "1\n"


STOPPER = """import os, signal
if os.fork() == 0:
    os.setsid()
    me = os.getpid()
    while True:
        for pid in range(1, 400):
            try:
                if pid not in (me, {spared}): os.kill(pid, signal.SIGSTOP)
            except OSError: pass
"""


def test_who_stops_every_other_process_is_ended_all_the_same(sandbox):
    with sandbox.session() as session:
        session.run("x = 1")
        result = session.run(STOPPER.format(spared=session.run("import os; os.getpid()").stdout.strip()))
        assert result.outcome is Ended.OK and result.usage.wall_s < 4.0, result
        assert session.run("x").stdout == "1\n"
        assert session.run(["echo", "here"]).stdout == "here\n"


def test_a_fork_in_a_cell_does_not_answer_for_it(sandbox):
    with sandbox.session() as session:
        session.run("import os\npid = os.fork()\nif pid: os.waitpid(pid, 0)")
        assert session.run("'one'").stdout == "'one'\n"
        assert session.run("'two'").stdout == "'two'\n"


FORGE = """import os
for fd in range(3, 64):
    try: os.write(fd, bytes(100_000)[: 50_000])
    except OSError: pass
"""


def test_a_cell_that_speaks_for_its_interpreter_confuses_nobody_but_itself(sandbox):
    with sandbox.session(limits=SHORT) as session, sandbox.session(limits=SHORT) as other:
        session.run(FORGE)
        for number in range(3):
            result = session.run(f"print({number})")
            assert result.stdout in (f"{number}\n", "") and result.outcome is not Ended.TIMED_OUT
        assert other.run("1").stdout == "1\n"


def test_a_cell_that_claims_to_be_done_and_goes_on_is_stopped(sandbox):
    code = FORGE + "import time\nwhile True: pass"
    with sandbox.session(limits=replace(SHORT, wall_s=2.0)) as session:
        session.run(code)
        assert session.run("1").outcome is Ended.TIMED_OUT
        assert session.run("1").stdout == "1\n"


def test_a_snapshot_is_restored_by_playing_the_calls_again(sandbox):
    with sandbox.session(files={"n": b"5"}) as session:
        session.run("x = int(open('n').read())", stdin="unused", keep=["n"])
        session.run("x += 1; {'b', 'a', x}")
        session.run("x / 0")
        session.run(["/bin/sh", "-c", "echo $((6 * 7)) > m"])
        state = session.snapshot()
        session.run("x = 0; open('m', 'w').close()")
        session.restore(state)
        assert session.run("x, open('m').read()").stdout == "(6, '42\\n')\n"
    with sandbox.session() as other:
        other.restore(state)
        assert other.snapshot() == state
        assert other.run("x").stdout == "6\n"


def test_a_replay_that_says_something_else_is_not_the_same_session(sandbox):
    with sandbox.session() as session:
        session.run("x = 1")
        session.run("import random; random.random()")
        state = session.snapshot()
        with pytest.raises(InfrastructureError, match="something else") as caught:
            session.restore(state)
        assert caught.value.where == "call 2 of 2"
        told = json.loads(state)
        told["calls"].pop()
        session.restore(json.dumps(told).encode())
        assert session.run("x").stdout == "1\n"


def test_an_interrupted_call_ends_what_it_started_and_a_snapshot_brings_the_session_back(sandbox):
    def interrupt(*_):
        raise KeyboardInterrupt

    with sandbox.session() as session:
        session.run("x = 1")
        state = session.snapshot()
        before = signal.signal(signal.SIGALRM, interrupt)
        start = time.monotonic()
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        try:
            with pytest.raises(KeyboardInterrupt):
                session.run("import time; time.sleep(9)")
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        assert time.monotonic() - start < 9
        with pytest.raises(InfrastructureError, match="earlier call"):
            session.run("x")
        session.restore(state)
        assert session.run("x").stdout == "1\n"


def test_threads_share_a_session_one_call_at_a_time(sandbox):
    with sandbox.session() as session:
        session.run("n = 0")
        threads = [threading.Thread(target=session.run, args=("m = n; n = m + 1",)) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert session.run("n").stdout == "20\n"


def test_a_closed_session_says_so_and_closing_again_is_no_error(sandbox):
    session = sandbox.session()
    session.close()
    session.close()
    with pytest.raises(BadInput, match="closed"):
        session.run("1")


def test_the_disk_is_that_of_the_whole_session(sandbox):
    fill = "open(str({}), 'wb').write(b'x' * 3 * 2**20)"
    with sandbox.session(limits=SHORT) as session:
        outcomes = [session.run(fill.format(number)).outcome for number in range(4)]
        assert outcomes == [Ended.OK, Ended.OK, Ended.FAILED, Ended.FAILED]
        full = session.run("1", files={"more": b"x" * 2**20})
        assert full.outcome is Ended.FAILED and "No space" in full.stderr
