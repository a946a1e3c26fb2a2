import json
import sys
import time
from pathlib import Path

import pytest

from evolvent.cli.hive_agents import build_command_agent
from evolvent.errors import BadInput, InfrastructureError
from evolvent.hive.agents.bounds import Bounds, can_bound
from evolvent.hive.agents.command_agent import CommandAgent
from evolvent.hive.agents.files import Report, lay_home, read_report, remove_tree
from evolvent.hive.agents.process import LogFile, find_marked
from evolvent.hive.agents.room import Isolate, check_sight, choose, probe
from hive.seats import BASE, TOLD, make_agent, make_seat, propose

pytestmark = pytest.mark.skipif(bool(probe()), reason=f"no room for an agent here: {probe()}")
BOTH = pytest.mark.parametrize("isolate", list(Isolate))

EDITS = """
import json, os, pathlib, sys
asked = sys.stdin.read()
pathlib.Path("solve.py").write_text("print(2)\\n")
context = json.load(open(os.environ["EVOLVENT_HIVE_CONTEXT"]))
report = {"tldr": "two", "message": context["base"] + asked[:9], "score": 0.5, "tokens": 12, "money": 0.25}
json.dump(report, open(os.environ["EVOLVENT_HIVE_REPORT"], "w"))
"""


@BOTH
def test_a_command_edits_its_tree_and_its_report_becomes_the_proposal(tmp_path, isolate):
    seat = make_seat(tmp_path)
    agent, said = make_agent(seat, EDITS, isolate)
    made = propose(agent, seat)
    assert (seat.folder / "tree" / "solve.py").read_text() == "print(2)\n"
    assert (made.tldr, made.parent, made.score, made.tokens, made.money) == ("two", BASE, 0.5, 12, 0.25)
    assert made.message == BASE + "# One try"
    assert not said


@BOTH
def test_the_public_client_finds_name_token_server_and_task(tmp_path, isolate):
    seat = make_seat(tmp_path)
    agent, _ = make_agent(
        seat,
        """
import json, os, pathlib
home = pathlib.Path.home() / ".hive"
config = json.loads((home / "config.json").read_text())
mine = json.loads((home / "agents" / (config["default_agent"] + ".json")).read_text())
names = [pathlib.Path(".hive", name).read_text() for name in ("task", "agent")]
print(json.dumps([mine["agent_id"], mine["token"], config["server_url"], *names,
    os.environ["HIVE_SERVER"], os.environ["HIVE_TASK"]]))
""",
        isolate,
    )
    propose(agent, seat)
    found = json.loads(seat.log.read_text().splitlines()[-1])
    assert found == ["ant", "token-of-ant", seat.hub, "packing", "ant", seat.hub, "packing"]


def test_the_prompt_stands_where_the_command_line_wants_it(tmp_path):
    seat = make_seat(tmp_path)
    words = (
        f"{sys.executable} -c 'import sys; print(sys.argv[1] == open(sys.argv[2]).read())' {{prompt}} {{prompt_file}}"
    )
    propose(CommandAgent(words, seat, Isolate.BWRAP), seat)
    assert seat.log.read_text() == "True\n"


def test_without_a_report_the_last_line_says_what_was_tried(tmp_path):
    seat = make_seat(tmp_path)
    program = "print('first')\nprint('sorted by size')\nopen('solve.py', 'w')\nraise SystemExit(3)"
    agent, said = make_agent(seat, program)
    made = propose(agent, seat)
    assert made.tldr == "sorted by size" and "status 3" in made.message and made.score is None
    assert "status 3" in said[0]


def test_a_command_that_fails_and_changes_nothing_is_no_try(tmp_path):
    seat = make_seat(tmp_path)
    agent, _ = make_agent(seat, "raise SystemExit('no key for the model')")
    with pytest.raises(InfrastructureError, match="status 1: no key for the model"):
        propose(agent, seat)


@BOTH
def test_a_command_that_will_not_end_is_ended_with_all_its_children(tmp_path, isolate):
    seat = make_seat(tmp_path)
    agent, said = make_agent(
        seat,
        """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(300)"
subprocess.Popen([sys.executable, "-c", stubborn], start_new_session=True)
if os.fork() == 0:  # leaves its group and its parent
    os.setsid()
    if os.fork() == 0:
        time.sleep(300)
    os._exit(0)
print("all at work", flush=True)
time.sleep(300)
""",
        isolate,
        limit_s=1.0,
        grace_s=0.2,
    )
    start = time.monotonic()
    made = propose(agent, seat)
    assert time.monotonic() - start < 60
    assert "stopped after 1 s" in made.message and said
    assert "all at work" in seat.log.read_text()
    assert find_marked(seat.folder) == []


def test_a_command_that_is_asked_to_end_may_tidy_up(tmp_path):
    seat = make_seat(tmp_path)
    agent, _ = make_agent(
        seat,
        """
import signal, sys, time
def tidy(*_):
    print("tidied", flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, tidy)
time.sleep(300)
""",
        limit_s=1.0,
        grace_s=10.0,
    )
    propose(agent, seat)
    assert seat.log.read_text() == "tidied\n"


# ---------------------------------------------------------------- isolation

SPY = """
import json, os, pathlib, sys
def read(path, how="r"):
    try:
        return open(path, how).read()
    except OSError as error:
        return None
def write(path):
    try:
        pathlib.Path(path).write_text("spied")
        return True
    except OSError as error:
        return False
others, secret, settings = sys.argv[1:4]
found = {
    "token": read(others + "/home/.hive/agents/bee.json"),
    "tree": read(others + "/tree/solve.py"),
    "hub": read(secret),
    "wrote": write(others + "/tree/solve.py"),
    "settings": write(settings),
    "shadow": read("/etc/shadow"),
    "environ": any(b"KEY_OF_THE_USER" in (read(p, "rb") or b"") for p in pathlib.Path("/proc").glob("[0-9]*/environ")),
    "key": os.environ.get("KEY_OF_THE_USER"),
    "up": sorted(os.listdir("..")),
    "processes": len(list(pathlib.Path("/proc").glob("[0-9]*"))),
}
print(json.dumps(found))
"""


def spy(tmp_path, isolate, **more):
    seat, bee = make_seat(tmp_path), make_seat(tmp_path, "bee")
    lay_home(bee)
    secret = tmp_path / "hub" / "hive.db"
    secret.parent.mkdir()
    secret.write_text("sealed")
    settings = tmp_path / "settings"
    (seat.folder / "tree" / "spy.py").write_text(SPY)
    words = f"{sys.executable} spy.py {bee.folder} {secret} {settings}"
    propose(CommandAgent(words, seat, isolate, tell=lambda _: None, **more), seat)
    return json.loads(seat.log.read_text().splitlines()[-1]), bee


def test_an_agent_reaches_neither_the_token_nor_the_tree_of_another_nor_the_hub(tmp_path, monkeypatch):
    monkeypatch.setenv("KEY_OF_THE_USER", "secret")
    found, bee = spy(tmp_path, Isolate.BWRAP)
    assert found.pop("processes") <= 4
    assert found.pop("up") == ["home", "tree"]
    assert set(found.values()) <= {None, False}, found
    assert (bee.folder / "tree" / "solve.py").read_text() == "print(1)\n"


def test_the_same_spy_sees_everything_where_nothing_isolates(tmp_path, monkeypatch):
    monkeypatch.setenv("KEY_OF_THE_USER", "secret")
    found, _ = spy(tmp_path, Isolate.NONE)
    assert "token-of-bee" in found["token"] and found["hub"] == "sealed" and found["wrote"] and found["key"]


def test_a_variable_that_was_named_reaches_the_command(tmp_path, monkeypatch):
    monkeypatch.setenv("KEY_OF_THE_USER", "secret")
    found, _ = spy(tmp_path, Isolate.BWRAP, env=("KEY_OF_THE_USER",))
    assert found["key"] == "secret"


def test_a_path_that_was_shown_can_be_read_and_not_written(tmp_path):
    shown = tmp_path / "data"
    shown.mkdir()
    (shown / "words").write_text("seen")
    seat = make_seat(tmp_path)
    program = f"""
import pathlib
print(pathlib.Path("{shown}/words").read_text())
try:
    pathlib.Path("{shown}/words").write_text("x")
except OSError as error:
    print(error.strerror)
"""
    agent, _ = make_agent(seat, program, see=(check_sight(shown, seat.folder),))
    propose(agent, seat)
    assert seat.log.read_text() == "seen\nRead-only file system\n"
    with pytest.raises(BadInput, match="folders of the others"):
        check_sight(tmp_path, seat.folder)


def test_the_settings_of_the_machine_cannot_be_written_even_where_root_runs_the_agent(tmp_path):
    seat = make_seat(tmp_path)
    program = """
import pathlib
for name in ("kernel/core_pattern", "kernel/hostname", "vm/overcommit_memory"):
    path = pathlib.Path("/proc/sys", name)
    try:
        path.write_text(path.read_text())
        print("wrote", name)
    except OSError:
        pass
print("done")
"""
    agent, _ = make_agent(seat, program)
    propose(agent, seat)
    assert seat.log.read_text() == "done\n"


@BOTH
def test_links_that_a_command_leaves_lead_our_pen_nowhere(tmp_path, isolate):
    seat, bee = make_seat(tmp_path), make_seat(tmp_path, "bee")
    (bee.folder / "tree" / "report.json").write_text('{"tldr": "stolen"}')
    program = f"""
import os, shutil
shutil.rmtree(".hive")
os.symlink("{bee.folder}/tree", ".hive")
shutil.rmtree(os.path.expanduser("~/.hive"))
os.symlink("{bee.folder}/tree", os.path.expanduser("~/.hive"))
"""
    agent, _ = make_agent(seat, program, isolate)
    before = sorted(path.name for path in (bee.folder / "tree").iterdir())
    for _ in range(2):
        assert propose(agent, seat).tldr != "stolen"
    assert sorted(path.name for path in (bee.folder / "tree").iterdir()) == before


def test_a_report_is_read_as_a_claim_whatever_it_holds(tmp_path):
    notes = tmp_path / ".hive"
    notes.mkdir()
    for text in ("[" * 100000, '{"score": NaN, "tokens": -5, "money": 1e999}', '{"score": true, "tldr": 7}', "\0"):
        (notes / "report.json").write_text(text)
        report = read_report(tmp_path, b"")
        assert report.score is None and report.tokens == 0 and report.money == 0.0 and report.tldr
    (notes / "report.json").write_text(r'{"message": "a\ud800\u0000b", "tokens": 1e300}')
    assert read_report(tmp_path, b"") == Report("a?b", "a?b", None, 10**12)
    (notes / "report.json").unlink()
    (notes / "report.json").symlink_to("/etc/hostname")
    assert read_report(tmp_path, b"\x1b[31mred\x1b[0m").tldr == "[31mred [0m"


def test_a_folder_without_rights_is_removed_all_the_same(tmp_path):
    inner = tmp_path / "tree" / "deep" / "deeper"
    inner.mkdir(parents=True)
    (inner / "file").write_text("x")
    (inner.parent / "away").symlink_to(tmp_path)
    inner.chmod(0)
    inner.parent.chmod(0)
    remove_tree(tmp_path / "tree")
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------- bounds


@pytest.mark.skipif(not can_bound(), reason="this user may make no control groups")
@BOTH
def test_processes_and_memory_of_a_command_are_bounded_together(tmp_path, isolate):
    seat = make_seat(tmp_path)
    program = """
import subprocess, sys
started = []
try:
    for _ in range(200):
        started.append(subprocess.Popen(["sleep", "60"]))
except OSError:
    pass
print(0 < len(started) < 30, flush=True)
for one in started:
    one.kill()
    one.wait()
code = subprocess.run([sys.executable, "-c", "print(len(bytearray(400 << 20)))"]).returncode
print(code, flush=True)
"""
    agent, said = make_agent(seat, program, isolate, bounds=Bounds(100, 30))
    propose(agent, seat)
    assert seat.log.read_text() == "True\n-9\n"
    assert said == ["ant: it needed more memory than 100 MB (memory_mb)"]


# ---------------------------------------------------------------- what may go wrong around it


def test_a_full_disk_costs_lines_of_the_log_and_not_the_agent(tmp_path):
    with LogFile(Path("/dev/full")) as log:
        log.write(b"lost")
        log._path = tmp_path / "log"
        log._open()
        log.write(b"kept\n")
    assert "lines are missing" in (tmp_path / "log").read_text() and (tmp_path / "log").read_text().endswith("kept\n")


def test_a_log_does_not_grow_without_end(tmp_path):
    with LogFile(tmp_path / "log", max_bytes=1000) as log:
        for number in range(1000):
            log.write(b"%06d\n" % number)
    sizes = [(tmp_path / name).stat().st_size for name in ("log", "log.1")]
    assert sum(sizes) <= 1100 and (tmp_path / "log").read_text().endswith("000999\n")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("", "no agent is named"),
        ("'", "cannot be read"),
        ("no-such-agent-anywhere", "no such agent"),
        ("/no/such/agent", "no such agent"),
    ],
)
def test_a_wrong_command_line_is_refused_before_the_first_try(tmp_path, words, complaint):
    with pytest.raises(BadInput, match=complaint):
        CommandAgent(words, make_seat(tmp_path), Isolate.BWRAP)


def test_a_program_outside_of_the_room_is_refused_with_the_way_to_show_it(tmp_path):
    program = tmp_path / "bin" / "mine"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho shown\n")
    program.chmod(0o755)
    seat = make_seat(tmp_path)
    with pytest.raises(BadInput, match=f"see={program.parent}"):
        CommandAgent(str(program), seat, Isolate.BWRAP)
    propose(CommandAgent(str(program), seat, Isolate.BWRAP, see=(program.parent,)), seat)
    assert seat.log.read_text() == "shown\n"


def test_isolation_is_the_default_and_its_absence_is_said():
    assert choose(None) == (Isolate.BWRAP, "")
    isolate, warning = choose("none")
    assert isolate is Isolate.NONE and "read and change all that you can" in warning
    with pytest.raises(BadInput, match="unknown isolation"):
        choose("docker")


def test_a_machine_without_bubblewrap_is_warned_of_and_never_taken_for_isolated(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    probe.cache_clear()
    try:
        isolate, warning = choose(None)
        assert isolate is Isolate.NONE and "apt install bubblewrap" in warning and "all that you can" in warning
        with pytest.raises(InfrastructureError, match="does not work here"):
            choose("bwrap")
    finally:
        probe.cache_clear()


def test_what_an_agent_reads_holds_the_runs_claims_and_skills_of_the_others(tmp_path):
    seat = make_seat(tmp_path)
    agent, _ = make_agent(seat, "print(open('.hive/context.md').read())")
    runs = [
        {"id": "a" * 40, "agent_id": "bee", "tldr": "first fit", "verified_score": 0.92, "number": 2, "is_kept": True},
        {"id": "c" * 40, "agent_id": "cat", "tldr": "a\x1b[2Jb", "verification_status": "failed", "why": "late"},
    ]
    propose(
        agent, seat, runs=runs, best=runs[0], left={"evaluations": 7.0},
        claims=[{"agent_id": "bee", "content": "best fit"}],
        skills=[{"name": "sort", "description": "by size", "code_snippet": "items.sort()"}],
        feed=[{"type": "post", "agent_id": "cat", "content": "triplets are hard"}],
    )  # fmt: skip
    text = seat.log.read_text()
    for words in ("first fit -> 0.92, kept", "late", "best fit", "items.sort()", "triplets are hard", "7 evaluations"):
        assert words in text, words
    assert "\x1b" not in text and "higher is better" in text and TOLD["mutable"][0] in text


# ---------------------------------------------------------------- as the command line builds it


def test_a_script_that_the_command_names_is_found_from_where_the_user_is(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text("import sys\nprint(sys.argv[1:])\n")
    (tmp_path / "data").write_text("not named as a file")
    monkeypatch.chdir(tmp_path)
    seat = make_seat(tmp_path)
    fields = {"limit_s": "20", "other": "1"}
    agent = build_command_agent(f"{sys.executable} mine.py data '{{prompt_file}}'", fields, seat, lambda _: None)
    propose(agent, seat)
    assert seat.log.read_text() == "['data', '/agent/tree/.hive/prompt.md']\n"
    assert fields == {"other": "1"} and agent.limit_s == 20 and agent.isolate is Isolate.BWRAP


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"mode": "twice"}, "unknown mode"),
        ({"limit_s": "0"}, "needs time"),
        ({"limit_s": "soon"}, "not a number"),
        ({"see": "/no/such/place"}, "nothing to see"),
        ({"isolate": "docker"}, "unknown isolation"),
        ({"memory_mb": "0"}, "must be positive"),
    ],
)
def test_wrong_fields_of_a_command_are_refused(tmp_path, fields, complaint):
    with pytest.raises(BadInput, match=complaint):
        build_command_agent("true now", fields, make_seat(tmp_path), lambda _: None)


def test_a_variable_that_is_not_set_is_missed_before_the_first_try(tmp_path):
    with pytest.raises(BadInput, match="not set"):
        build_command_agent("true now", {"env": "NO_SUCH_KEY_HERE"}, make_seat(tmp_path), lambda _: None)


def test_where_nothing_isolates_a_plain_warning_is_said(tmp_path):
    said = []
    build_command_agent("true now", {"isolate": "none"}, make_seat(tmp_path), said.append)
    assert said == ["warning: isolate=none: the agent's command can read and change all that you can"]
