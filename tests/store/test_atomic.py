import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from evolvent.errors import BadInput, StoreError
from evolvent.store.atomic import append_line, sweep, whole_lines, write_bytes, write_folder, write_text


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def in_child(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], check=False, capture_output=True, text=True, timeout=60
    )


def test_text_is_written_as_utf_8_and_leaves_nothing_beside(tmp_path: Path) -> None:
    write_text(tmp_path / "a" / "b.txt", "é😀\n")
    assert (tmp_path / "a" / "b.txt").read_bytes() == "é😀\n".encode()
    assert names(tmp_path / "a") == ["b.txt"]


def test_a_folder_is_whole_or_absent(tmp_path: Path) -> None:
    def fill(folder: Path) -> None:
        (folder / "agent").mkdir()
        write_bytes(folder / "agent" / "weights", b"1")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_folder(tmp_path / "step-1", fill)
    assert names(tmp_path) == []


def test_a_folder_replaces_an_older_one_and_a_failed_one_does_not(tmp_path: Path) -> None:
    target = tmp_path / "step-1"
    write_folder(target, lambda folder: write_text(folder / "x", "old"))
    write_folder(target, lambda folder: write_text(folder / "y", "new"))
    assert names(target) == ["y"]

    def fail(folder: Path) -> None:
        write_text(folder / "y", "broken")
        raise RuntimeError("No space left on device")

    with pytest.raises(StoreError, match="disk is full"):
        write_folder(target, fail)
    assert (target / "y").read_text() == "new"
    assert names(tmp_path) == ["step-1"]


def test_errors_of_the_callers_own_keep_their_type(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        raise BadInput("mine")

    with pytest.raises(BadInput, match="mine"):
        write_folder(tmp_path / "x", fail)
    with pytest.raises(ZeroDivisionError):
        write_folder(tmp_path / "x", lambda folder: print(1 / 0))


def test_a_kill_between_the_two_renames_is_mended(tmp_path: Path) -> None:
    (tmp_path / ".step-1.old").mkdir()
    write_text(tmp_path / ".step-1.old" / "x", "kept")
    sweep(tmp_path)
    assert (tmp_path / "step-1" / "x").read_text() == "kept"
    (tmp_path / ".step-1.old").mkdir()
    sweep(tmp_path)
    assert names(tmp_path) == ["step-1"]


def test_what_a_killed_process_left_is_swept_and_the_work_of_a_living_one_is_not(tmp_path: Path) -> None:
    code = """
import sys, time
from pathlib import Path
from evolvent.store.atomic import write_folder
def fill(folder):
    (folder / "half").write_text("x")
    print("ready", flush=True)
    time.sleep(60)
write_folder(Path(sys.argv[1]) / "step-1", fill)
"""
    child = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None and child.stdout.readline() == "ready\n"
    sweep(tmp_path)
    assert len(names(tmp_path)) == 1, "the process is alive"
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert len(names(tmp_path)) == 1 and not (tmp_path / "step-1").exists()
    sweep(tmp_path)
    assert names(tmp_path) == []


def test_a_line_is_whole_and_follows_a_torn_one_cleanly(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    append_line(path, "one")
    with path.open("a") as file:
        file.write("x" * 9000)
    assert whole_lines(path) == (["one"], "x" * 9000)
    append_line(path, "two")
    assert path.read_text() == "one\ntwo\n"
    path.write_text("torn from the start")
    append_line(path, "three")
    assert path.read_text() == "three\n"
    with pytest.raises(ValueError, match="line break"):
        append_line(path, "a\nb")


def test_lines_of_processes_writing_at_once_do_not_mix(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from evolvent.store.atomic import append_line
for i in range(50): append_line(Path(sys.argv[1]), sys.argv[2] * 200)
"""
    path = tmp_path / "m.jsonl"
    children = [subprocess.Popen([sys.executable, "-c", code, str(path), letter]) for letter in "ab"]
    assert [child.wait(60) for child in children] == [0, 0]
    lines, torn = whole_lines(path)
    assert torn == "" and sorted(lines) == ["a" * 200] * 50 + ["b" * 200] * 50


LIMITED = """
import resource, sys
from pathlib import Path
from evolvent.errors import StoreError
from evolvent.store.atomic import append_line, write_folder, write_text
root = Path(sys.argv[1])
write_text(root / "a", "good")
append_line(root / "m", "good")
write_folder(root / "f", lambda folder: write_text(folder / "x", "good"))
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
big = "x" * 5000
for what in (
    lambda: write_text(root / "a", big),
    lambda: append_line(root / "m", big),
    lambda: write_folder(root / "f", lambda folder: (folder / "x").write_text(big)),
):
    try:
        what()
    except StoreError as error:
        print(error)
    else:
        raise SystemExit("written?")
"""


def test_a_file_size_limit_is_said_with_its_cure_and_the_last_good_state_stays(tmp_path: Path) -> None:
    done = in_child(LIMITED, str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("ulimit -f") == 3 and str(tmp_path) in done.stdout
    assert (tmp_path / "a").read_text() == "good"
    assert (tmp_path / "m").read_text() == "good\n"
    assert (tmp_path / "f" / "x").read_text() == "good"
    assert names(tmp_path) == ["a", "f", "m"]


def test_the_full_device_says_out_and_free_space() -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full here")
    with pytest.raises(StoreError) as caught:
        append_line(full, "x")
    assert "disk is full" in caught.value.what and "free some space" in caught.value.cure
    assert "out=" in caught.value.cure


SMALL_DISK = """
import sys
from pathlib import Path
from evolvent.errors import StoreError
from evolvent.store import Run
root = Path(sys.argv[1])
run = Run.create("{}", "improve", 0, root / "r")
run.log(0, {"loss": 1.0})
run.keep_checkpoint(1, lambda folder: (folder / "weights").write_bytes(b"g" * 300_000))
said = []
def attempt(what):
    try:
        what()
    except StoreError as error:
        said.append(str(error))
attempt(lambda: run.keep_checkpoint(2, lambda folder: (folder / "weights").write_bytes(b"g" * 2_000_000)))
(root / "filler").write_bytes(b"")
with (root / "filler").open("wb", buffering=0) as file:
    try:
        while file.write(b"x" * 512): pass
    except OSError: pass
attempt(lambda: [run.log(step, {"words": "x" * 1000}) for step in range(1, 20)])
assert len(said) == 2 and all("disk is full" in s and "out= of a run" in s for s in said), said
assert run.last_checkpoint()[0] == 1
assert (run.last_checkpoint()[1] / "weights").stat().st_size == 300_000
text = (run.path / "metrics.jsonl").read_text()
assert text.endswith("\\n") and run.metrics()[0] == {"step": 0, "loss": 1.0}
print("kept")
"""


def test_a_really_full_disk_keeps_the_last_good_state(tmp_path: Path) -> None:
    if not shutil.which("unshare") or os.geteuid() != 0:
        pytest.skip("needs root and unshare, to mount a small disk that nobody else sees")
    mount = f'mount -t tmpfs -o size=1m none "{tmp_path}"'
    if subprocess.run(["unshare", "-m", "sh", "-c", mount], check=False, capture_output=True).returncode != 0:
        pytest.skip("mounting is not allowed here")
    run = ["unshare", "-m", "sh", "-c", f'{mount} && exec "$0" -c "$1" "{tmp_path}"', sys.executable, SMALL_DISK]
    done = subprocess.run(run, check=False, capture_output=True, text=True, timeout=60)
    assert done.stdout == "kept\n", done.stderr


def test_a_kill_at_any_moment_leaves_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from evolvent.store.atomic import write_text
i = 0
while True:
    write_text(Path(sys.argv[1]), str(i) * 20000)
    if i == 0: print("ready", flush=True)
    i = (i + 1) % 10
"""
    path = tmp_path / "x"
    for delay in (0.0, 0.003, 0.011):
        child = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None and child.stdout.readline()
        time.sleep(delay)
        child.kill()
        child.wait()
        text = path.read_text()
        assert len(text) == 20000 and len(set(text)) == 1
    sweep(tmp_path)
    assert names(tmp_path) == ["x"]
