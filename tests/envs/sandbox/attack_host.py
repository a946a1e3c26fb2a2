"""What attacks are after on the host, and how one sees that they did not get it."""

import os
import secrets
import time
from pathlib import Path

import pytest

from envs.sandbox.attack_list import MARK, PRELUDE
from evolvent.envs.sandbox.choose import TIERS

ROOT = Path(__file__).resolve().parents[3]
SECRET = secrets.token_hex(8)
SLOW = {"container": pytest.mark.slow}  # a second or two for each call
EVERY = [pytest.param(tier, marks=SLOW.get(tier, ())) for tier in TIERS]
FULL = [pytest.param(tier, marks=SLOW.get(tier, ())) for tier in TIERS if tier != "monty"]


def filled(code, host):
    for key, value in host.items():
        code = code.replace(f"@{key}@", str(value))
    return PRELUDE + code


def check_host(host):
    """Nobody is hurt, nothing is left."""
    assert Path(f"/proc/{host['victim']}/stat").read_text("utf-8").split()[2] in "SR", "the victim is dead or stopped"
    assert host["secret_file"].read_text("utf-8") == SECRET
    assert host["secret_file"].stat().st_mode & 0o777 == 0o644 or os.umask(os.umask(0)) != 0o022
    assert host["secret_file"].stat().st_mtime > 1000
    assert not [name for name in os.listxattr(host["secret_file"]) if MARK in name]
    for folder in ("/dev/shm", "/tmp", "/usr", "/usr/bin", "/etc", "/var/tmp", "/dev/mqueue", str(ROOT)):
        assert not list(Path(folder).glob(f"*{MARK}*")), f"left in {folder}"
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
