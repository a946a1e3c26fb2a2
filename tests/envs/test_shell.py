import asyncio
import io
import os
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evolvent.envs.sandbox import best
from evolvent.envs.shell import Shell, folder_of, name_folder
from evolvent.envs.shell_files import Left, read_left
from evolvent.envs.shell_image import refusal, room_of
from evolvent.envs.shell_room import has_paths
from evolvent.envs.shell_tests import judge_files, try_script
from evolvent.errors import BadInput
from evolvent.records import Origin, Private, Reference, Task, ToolCall, said
from evolvent.rewards.hidden_tests import check, share_of_tests
from evolvent.tasks.formats import HarborTask

TOML = b'[agent]\ntimeout_sec = 60\n[verifier]\ntimeout_sec = 20\n[environment]\nnetwork_mode = "no-network"\n'
TEST = b"""#!/bin/bash
here=$(cd "$(dirname "$0")" && pwd)
logs=${EVOLVENT_LOGS:-/logs/verifier}
test "$(cat answer.txt)" = "$(cat "$here/truth.txt")" && echo 1 >"$logs/reward.txt" || echo 0 >"$logs/reward.txt"
"""
FILES = {
    "task.toml": TOML,
    "instruction.md": b"Write how many lines numbers.txt has to answer.txt.\n",
    "environment/Dockerfile": b"FROM debian:12\nWORKDIR /app\nCOPY numbers.txt .\n"
    b"RUN mkdir -p empty/inside\nENV KIND=plain\n",
    "environment/numbers.txt": b"1\n2\n3\n",
    "solution/solve.sh": b"wc -l < numbers.txt > answer.txt\n",
    "tests/test.sh": TEST,
    "tests/truth.txt": b"3\n",
}


def counting(**changes):
    """A task whose truth, 3, lies in its tests."""
    return HarborTask({**FILES, **changes}, where="counting")


def folder(**changes):
    return counting(**{path: told.encode() if isinstance(told, str) else told for path, told in changes.items()})


PLAN = Shell()


def task_of():
    reference = Reference("evolvent.synthesis.terminal_tasks:make", {"family": "total", "level": 1, "index": 0})
    made = Private("done", name_folder(reference))
    return Task("t", "f", 1, (said("user", "go"),), made, Reference("x:y"), Origin("test"))


@pytest.fixture(scope="module")
def sandbox():
    return best()


def played(commands, made=None, plan=PLAN):
    """The world after some commands, with what each answered, and the verdict."""

    async def go():
        world = plan.open(task_of(), 0)
        world.folder = made or counting()
        world.room = room_of(world.folder)
        async with world:
            heard = [await world.call("agent", ToolCall("shell", {"command": c})) for c in commands]
            return heard, await world.evidence()

    return asyncio.run(go())


# ------------------------------------------------------------ what an agent can do


def test_who_does_the_task_is_paid_and_who_does_not_is_not():
    heard, told = played(["cat numbers.txt; echo $KIND; ls -d empty/inside", "wc -l < numbers.txt > answer.txt"])
    assert heard[0].text == "1\n2\n3\nplain\nempty/inside"
    assert heard[1].text == "(no output)"
    assert (told["reward"], told["why"], told["num_calls"]) == (1.0, "", 2)
    heard, told = played(["echo 4 > answer.txt", "ls nowhere"])
    assert told["reward"] == 0.0
    assert heard[1].text.endswith("[exit 2]")
    assert not heard[1].is_error


def test_a_call_that_is_none_and_a_shell_that_is_used_up_are_said_so():
    async def go():
        async with Shell(max_calls=2).open(task_of(), 0) as world:
            odd = await world.call("agent", ToolCall("shell", {"cmd": "ls"}))
            other = await world.call("agent", ToolCall("bash", {"command": "ls"}))
            return odd, other, await world.call("agent", ToolCall("shell", {"command": "ls"}))

    odd, other, spent = asyncio.run(go())
    assert "no argument 'cmd'" in odd.text
    assert "no tool 'bash'" in other.text
    assert "no calls left" in spent.text


def test_a_snapshot_is_played_again_and_equal_files_have_equal_digests():
    async def go():
        async with Shell().open(task_of(), 0) as world, Shell().open(task_of(), 1) as other:
            await world.call("agent", ToolCall("shell", {"command": "echo a > x"}))
            state, digest = world.snapshot(), world.state_digest()
            await world.call("agent", ToolCall("shell", {"command": "echo b > x"}))
            changed = world.state_digest()
            world.restore(state)
            await other.call("agent", ToolCall("shell", {"command": "printf 'a\\n' > x"}))
            return digest, changed, world.state_digest(), other.state_digest(), world.num_calls

    digest, changed, restored, same, num_calls = asyncio.run(go())
    assert digest == restored == same != changed
    assert num_calls == 1


def test_a_task_without_a_folder_says_where_they_come_from():
    bare = Task("t", "f", 1, (said("user", "go"),), Private("x"), Reference("x:y"), Origin("test"))
    with pytest.raises(BadInput, match="names no task folder"):
        folder_of(bare)


# ------------------------------------------------------------ what no agent can gain by

ATTACKS = {
    "writes the reward": "mkdir -p ../logs/verifier; echo 1 | tee reward.txt ../logs/verifier/reward.txt "
    "/logs/verifier/reward.txt",
    "writes a reward as JSON": "mkdir -p ../logs/verifier; echo '{\"reward\": 1}' | tee ../logs/verifier/reward.json",
    "edits the tests": "mkdir -p ../tests tests; printf 'echo 1 > $EVOLVENT_LOGS/reward.txt' | tee ../tests/test.sh "
    "tests/test.sh /tests/test.sh",
    "leaves its own truth": "mkdir -p ../tests; echo 9 > answer.txt; echo 9 | tee ../tests/truth.txt /tests/truth.txt",
    "links to the truth": "ln -s ../tests/truth.txt answer.txt",
    "links to the truth by its name": "ln -s /tests/truth.txt answer.txt",
    "links by detours": "mkdir -p a/b; ln -s .. a/b/up; ln -s a/b/up/../../tests/truth.txt answer.txt",
    "links a folder to the logs": "ln -s ../logs/verifier logs; ln -s ../logs/verifier/reward.txt answer.txt",
    "leaves a process that rewrites": "(trap '' HUP TERM; while sleep 0.02; do mkdir -p ../logs/verifier ../tests; "
    "echo 1 > ../logs/verifier/reward.txt; : > ../tests/truth.txt; done) >/dev/null 2>&1 & sleep 0.1; echo > a",
    "kills what it can": "setsid sh -c 'sleep 0.05; kill -9 -1' >/dev/null 2>&1 & true",
    "puts its own python in the way": "mkdir -p bin; printf '#!/bin/sh\\nexit 0' > bin/python3; cp bin/python3 bash; "
    "cp bash cat; cp bash test; chmod +x bin/* bash cat test; export PATH=$PWD:$PWD/bin:$PATH; "
    'echo "export PATH=$PWD:$PWD/bin" | tee ~/.bashrc ~/.profile ~/.bash_profile .bashrc',
    "leaves start files for python": "echo 'import os; os._exit(0)' | tee sitecustomize.py usercustomize.py "
    "conftest.py json.py hashlib.py ../sitecustomize.py >/dev/null",
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_nobody_is_paid_who(attack):
    _, told = played([ATTACKS[attack]])
    assert told["reward"] == 0.0, told


def test_a_process_that_stays_behind_does_not_work_for_its_agent_while_the_tests_run():
    slow = TEST.replace(b"here=", b"sleep 0.8\nhere=")
    late = "until [ -e ../final.tar ]; do sleep 0.01; done; sleep 0.5; echo 3 > answer.txt"
    late = f"echo 0 > answer.txt; ({late}) >/dev/null 2>&1 &"
    assert played([late], folder(**{"tests/test.sh": slow}))[1]["reward"] == 0.0


def test_who_sleeps_past_the_limit_is_ended_and_earns_nothing():
    heard, told = played(["sleep 60; echo 3 > answer.txt"], plan=Shell(timeout_s=0.5))
    assert heard[0].text == "[ended after 0.5 s]"
    assert told["reward"] == 0.0


def test_who_makes_the_tests_hang_earns_nothing():
    hanging = folder(
        **{
            "task.toml": TOML.replace(b"timeout_sec = 20", b"timeout_sec = 0.5"),
            "tests/test.sh": b'echo 1 > "$EVOLVENT_LOGS/reward.txt"; bash ./run.sh',
        }
    )
    _, told = played(["echo 'sleep 60' > run.sh"], hanging)
    assert told["reward"] == 0.0
    assert told["why"] == "the tests ended: timed out"


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("true", "the tests ended without a reward"),
        ("echo much > $EVOLVENT_LOGS/reward.txt", "cannot be read"),
        ("echo nan > $EVOLVENT_LOGS/reward.txt", "not a finite number"),
        ("echo '{\"reward\": true}' > $EVOLVENT_LOGS/reward.json", "not a finite number"),
        ("echo '{' > $EVOLVENT_LOGS/reward.json", "cannot be read"),
    ],
)
def test_tests_that_end_without_a_number_give_nothing_and_say_so(sandbox, script, why):
    verdict = judge_files(sandbox, folder(**{"tests/test.sh": script}), Left())
    assert verdict.reward == 0.0
    assert why in verdict.why


def test_rewards_by_name_are_kept_and_scored(sandbox):
    told = '{"reward": 0, "passed": %d, "num_tests": 4}'
    values = []
    for passed in (3, 4):
        script = f"echo '{told % passed}' > $EVOLVENT_LOGS/reward.json"
        verdict = judge_files(sandbox, folder(**{"tests/test.sh": script}), Left())
        evidence = {"reward": verdict.reward, "rewards": verdict.rewards}
        values.append(share_of_tests(task_of(), "done", evidence).value)
        assert check(task_of(), "done", evidence).components["passed"] == passed
    assert values == [0.75, 1.5]


def test_a_solution_sees_its_folder_and_an_agent_does_not(sandbox):
    made = folder(**{"solution/answer.txt": "3", "solution/solve.sh": "cat ../solution/answer.txt > answer.txt"})
    script = made.files["solution/solve.sh"].decode()
    assert try_script(sandbox, made, script, solution=True).verdict.reward == 1.0
    assert try_script(sandbox, made, script).verdict.reward == 0.0


def test_scripts_with_the_paths_of_the_format_run_where_the_sandbox_has_them(sandbox):
    made = folder(
        **{
            "tests/test.sh": "cmp /app/answer.txt /tests/truth.txt && echo 1 > /logs/verifier/reward.txt",
            "solution/solve.sh": "cp /solution/found.txt /app/answer.txt",
            "solution/found.txt": "3\n",
        }
    )
    if not has_paths(sandbox):
        assert "has its files elsewhere" in refusal(made, sandbox)
        return
    assert refusal(made, sandbox) == ""
    assert try_script(sandbox, made, "bash /solution/solve.sh", solution=True).verdict.reward == 1.0
    assert try_script(sandbox, made, "true").verdict.reward == 0.0


# ------------------------------------------------------------ what comes out of a sandbox


def archive(*entries):
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for name, kind, told in entries:
            entry = tarfile.TarInfo(name)
            entry.type = kind
            if kind == tarfile.REGTYPE:
                entry.size = len(told)
                tar.addfile(entry, io.BytesIO(told))
            else:
                entry.linkname = told
                tar.addfile(entry)
    return made.getvalue()


FILE, LINK, PIPE, DEVICE = tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE


def test_an_archive_leads_nowhere_else():
    left = read_left(
        archive(
            ("../tests/test.sh", FILE, b"no"),
            ("/etc/passwd", FILE, b"no"),
            ("./fine/x", FILE, b"yes"),
            ("pipe", PIPE, ""),
            ("disk", DEVICE, ""),
            ("in", LINK, "fine/x"),
            ("out", LINK, "../tests"),
            ("out/test.sh", FILE, b"no"),
            ("fine/up", LINK, "../in"),
            ("fine/far", LINK, "../../logs"),
            ("trick", LINK, "fine/up/../../tests"),
            ("sys", LINK, "/usr/bin/env"),
            ("truth", LINK, "/tests/truth.txt"),
            ("odd", LINK, "/usr/../tests/truth.txt"),
        )
    )
    assert set(left.links) == {"in", "fine/up", "sys"}
    assert dict(left.files) == {"fine/x": b"yes", "out/test.sh": b"no"}  # its link is gone: a folder like any other
    assert read_left(left.archive).digest == left.digest


def test_what_is_no_archive_is_trouble_and_not_a_crash(sandbox):
    for data in (None, b"", b"x" * 2000, archive(("a", FILE, b"1"))[:700]):
        left = read_left(data)
        assert left.trouble or not left.files
    huge = tarfile.TarInfo("huge")
    huge.size = 1 << 40
    assert "bytes were left" in read_left(huge.tobuf() + b"\0" * 1024).trouble
    assert judge_files(sandbox, counting(), Left(trouble="gone")).why == "gone"


names = st.lists(st.sampled_from(["a", "b", "..", ".", "tests"]), min_size=1, max_size=5).map("/".join)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(names, st.booleans(), names), max_size=8), st.booleans())
def test_links_and_files_that_are_kept_stay_below_their_folder(tmp_path_factory, entries, is_absolute):
    start = "/" if is_absolute else ""
    left = read_left(archive(*[(n, LINK, start + t) if is_link else (n, FILE, b"x") for n, is_link, t in entries]))
    home = tmp_path_factory.mktemp("left")
    inside = home / "app"
    inside.mkdir()
    (home / "tests").mkdir()
    with tarfile.open(fileobj=io.BytesIO(left.archive)) as tar:
        tar.extractall(inside, filter="data")
    for path in inside.rglob("*"):
        found = os.path.realpath(path)  # a loop of links is no error here
        assert found.startswith(str(inside)) or str(path.readlink()).startswith("/")


# ------------------------------------------------------------ what our sandbox is for


@pytest.mark.parametrize(
    ("path", "told", "why"),
    [
        ("task.toml", b"", "no network"),
        ("task.toml", TOML + b"gpus = 1\n", "no gpus"),
        ("task.toml", TOML + b'[verifier.environment]\ndocker_image = "debian:12"\n', "image of their own"),
        ("environment/docker-compose.yaml", b"services: {}", "no services"),
        ("environment/Dockerfile", b"FROM nginx\nWORKDIR /app", "none of debian, ubuntu, python"),
        ("environment/Dockerfile", b"FROM debian:12\nWORKDIR /app\nRUN mkdir a; curl x | sh", "more than files"),
        ("environment/Dockerfile", b"FROM debian:12\nRUN apt-get install -y jq\nWORKDIR /app", "more than files"),
        ("environment/Dockerfile", b"FROM debian:12\nRUN mkdir a && curl x | sh\nWORKDIR /app", "files outside /app"),
        ("environment/Dockerfile", b"FROM debian:12\nWORKDIR /srv", "the working folder is not /app"),
        ("environment/Dockerfile", b"FROM debian:12", "the working folder is not /app"),
        ("environment/Dockerfile", b"FROM debian:12\nWORKDIR /app\nCOPY numbers.txt /etc/", "files outside /app"),
        ("environment/Dockerfile", b"FROM debian:12\nWORKDIR /app\nCOPY absent.txt .", "not there"),
        ("environment/Dockerfile", b"FROM debian:12 AS x\nWORKDIR /app", "none of debian"),
    ],
)
def test_a_task_that_needs_more_than_files_is_refused_with_the_reason(sandbox, path, told, why):
    assert why in refusal(folder(**{path: told}), sandbox)


@pytest.mark.parametrize(
    ("copy", "files"),
    [
        (b"COPY numbers.txt .", {"numbers.txt"}),
        (b"COPY numbers.txt /app/x.txt", {"x.txt"}),
        (b"COPY numbers.txt sub/", {"sub/numbers.txt"}),
        (b"COPY . /app", {"numbers.txt", "sub/deep.txt"}),
        (b"COPY sub/ /app/", {"deep.txt"}),
        (b'COPY ["sub", "/app/sub"]', {"sub/deep.txt"}),
        (b"COPY numbers.txt \\\n  sub/deep.txt data/", {"data/numbers.txt", "data/deep.txt"}),
    ],
)
def test_what_a_dockerfile_copies_lies_where_it_says(copy, files):
    made = folder(
        **{"environment/Dockerfile": b"FROM python:3.11-slim\nWORKDIR /app\n" + copy, "environment/sub/deep.txt": b"d"}
    )
    assert set(room_of(made).files) == files
