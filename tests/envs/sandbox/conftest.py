import importlib
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from envs.sandbox.attack_host import ROOT, SECRET
from evolvent.envs.sandbox.choose import probe_all


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
