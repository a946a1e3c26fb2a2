"""Task folders whose image is more than files on a base system, in a container made of this machine's own programs."""

import asyncio
import io
import os
import re
import shutil
import subprocess
import sysconfig
import tarfile
from pathlib import Path

import pytest

from evolvent.envs.sandbox import best
from evolvent.envs.sandbox.container import open_
from evolvent.envs.shell import Shell
from evolvent.envs.shell_image import image_name, refusal, room_of
from evolvent.envs.shell_room import NeedsImage
from evolvent.errors import BadInput, EvolventError
from evolvent.records import Reference, ToolCall
from evolvent.synthesis.harbor import Asked, HarborTasks, prove
from evolvent.synthesis.terminal_tasks import as_task
from evolvent.tasks.formats.harbor import HarborTask, read_task, write_task

PROGRAMS = ("sh", "bash", "tar", "cat", "mkdir", "rm", "ls", "chmod", "ln", "env")
BASE = f"localhost/evolvent-test-base:{os.getpid()}"  # tests in other processes make and remove their own
PYTHON = "/usr/bin/python3"
TOML = b'schema_version = "1.4"\n[task]\nname = "evolvent/next"\n[environment]\nnetwork_mode = "no-network"\n'
DOCKERFILE = f"""FROM {BASE}
RUN mkdir -p /workspace/data /usr/share/tool && echo 42 > /workspace/data/a.txt && ln -s data/a.txt /workspace/l
RUN printf 41 > /usr/share/tool/tool.txt && chmod 600 /workspace/data/a.txt
WORKDIR /workspace
"""
TESTS = b"""[ "$(cat /workspace/out.txt)" = 42 ] && [ "$(cat l)" = 42 ] && ok=1 || ok=0
echo $ok > /logs/verifier/reward.txt
"""
SOLUTION = b"echo $(( $(cat /usr/share/tool/tool.txt) + 1 )) > /workspace/out.txt\n"


def task_of(dockerfile=DOCKERFILE, **more):
    files = {"instruction.md": b"Add one.", "environment/Dockerfile": dockerfile.encode(), "task.toml": TOML}
    return HarborTask({**files, "tests/test.sh": TESTS, "solution/solve.sh": SOLUTION, **more}, where="folder")


@pytest.fixture(scope="module")
def engine():
    """An engine with an image that was made from programs of this machine, as nothing can be pulled."""
    found = open_().engine
    if not shutil.which(found) or not Path(PYTHON).exists():
        pytest.skip("neither docker nor podman with a system python3 is here")
    made = subprocess.run([found, "import", "-", BASE], input=_base(), capture_output=True, check=False)
    if made.returncode:
        pytest.skip(f"{found} imports no image here: {made.stderr.decode()[-200:]}")
    yield found
    _remove(found, BASE)


@pytest.fixture(scope="module")
def built(engine):
    """The image of the task, as its Dockerfile makes it."""
    task = task_of()
    words = [engine, "build", "--network", "none", "--pull=never", "-t", image_name(task), "-"]
    made = subprocess.run(words, input=DOCKERFILE.encode(), capture_output=True, check=False)
    if made.returncode:
        pytest.skip(f"{engine} builds nothing here: {made.stderr.decode()[-200:]}")
    try:
        room = room_of(task)
    except EvolventError as error:
        pytest.skip(f"{engine} starts no container here: {error.what}")
    yield task
    _remove(engine, room.image, image_name(task))


def _remove(engine, *images):
    subprocess.run([engine, "rmi", "-f", *images], capture_output=True, check=False)


def _base():
    names = {f"/usr/lib/python{_version()}"}
    for program in (*(shutil.which(p, path="/usr/bin:/bin") for p in PROGRAMS), PYTHON):
        told = subprocess.run(["ldd", os.path.realpath(program)], capture_output=True, text=True, check=False).stdout
        for path in (program, *re.findall(r"(/\S+\.so\S*)", told)):
            names |= set(_chain(path))
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for folder in ("tmp", "proc", "sys", "dev", "etc", "root"):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        for link in ("bin", "lib", "lib64", "sbin"):
            entry = tarfile.TarInfo(link)
            entry.type, entry.linkname = tarfile.SYMTYPE, f"usr/{link}"
            tar.addfile(entry)
        for name in sorted(names):
            tar.add(name, re.sub(r"^/(bin|lib|lib64|sbin)/", r"/usr/\1/", name).lstrip("/"), filter=_needed)
    return made.getvalue()


def _version():
    words = [PYTHON, "-c", "import sysconfig; print(sysconfig.get_python_version())"]
    told = subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip()
    return told or sysconfig.get_python_version()


def _chain(path):
    """A program, and what its links lead to."""
    yield path
    while Path(path).is_symlink():
        path = str(Path(path).parent / Path(path).readlink())
        yield path


def _needed(entry):
    return None if re.search(r"/(test|__pycache__|dist-packages|ensurepip|idlelib)(/|$)", entry.name) else entry


def test_without_the_image_a_task_is_refused_with_the_command_that_makes_it(engine, tmp_path):
    other = task_of(DOCKERFILE.replace("41", "17"))
    write_task(tmp_path / "task", other)
    with pytest.raises(NeedsImage) as told:
        room_of(read_task(tmp_path / "task"))
    assert told.value.cure == f"{engine} build -t {image_name(other)} {tmp_path}/task/environment"
    with pytest.raises(BadInput, match="build -t localhost/evolvent-task"):
        _ = HarborTasks(str(tmp_path / "task")).families


def test_a_named_image_is_to_be_pulled(engine):
    named = task_of().with_config(
        {"environment": {"network_mode": "no-network", "docker_image": "example.invalid/x:1"}}
    )
    assert refusal(named, best()).endswith(f"{engine} pull example.invalid/x:1")


def test_the_solution_passes_in_the_image_and_doing_nothing_does_not(built):
    (proof,) = prove([built], best(), Asked())
    rewards = [(row.kind, row.reward, row.is_passed) for row in proof.rows if row.reward is not None]
    assert proof.failed == "", proof.rows[-1].log
    assert {kind for kind, _, _ in rewards} == {"oracle", "nop", "repeat"}
    assert all(reward == float(kind != "nop") for kind, reward, _ in rewards)


def test_an_agent_finds_its_folder_and_the_system_around_it(built, tmp_path):
    write_task(tmp_path / "task", built)
    task = as_task(
        built, Reference("evolvent.tasks.formats.harbor:read_task", {"folder": str(tmp_path / "task")}), "train"
    )

    async def visit():
        async with Shell().open(task, 0) as world:

            async def run(command):
                return (await world.call("agent", ToolCall("shell", {"command": command}))).text

            seen = await run("cat l /usr/share/tool/tool.txt; ls")
            denied = await run("echo x > /usr/share/tool/tool.txt; cat /usr/share/tool/tool.txt; ls /tests /solution")
            await run("echo 42 > out.txt")
            return seen, denied, await world.evidence()

    seen, denied, evidence = asyncio.run(visit())
    assert seen == "42\n41data\nl"
    assert "Read-only file system" in denied
    assert "41" in denied
    assert "test.sh" not in denied
    assert "solve.sh" not in denied
    assert evidence["reward"] == 1.0, evidence


@pytest.mark.slow
def test_a_folder_that_a_container_hides_is_refused(engine, built):
    hidden = DOCKERFILE.replace("WORKDIR /workspace", "WORKDIR /tmp/x")
    task = task_of(hidden)
    words = [engine, "build", "--network", "none", "--pull=never", "-t", image_name(task), "-"]
    subprocess.run(words, input=hidden.encode(), capture_output=True, check=True)
    with pytest.raises(BadInput, match="hides the working folder"):
        room_of(task)
    _remove(engine, image_name(task))
