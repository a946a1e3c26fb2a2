import signal
import socket
import subprocess
import sys

import httpx
import pytest

from evolvent.errors import BadInput
from evolvent.policies.scripted import Fixed
from evolvent.serve import serve

SERVE = """
from evolvent.policies.scripted import Fixed
from evolvent.serve import serve
serve(Fixed("hi"), None, port=0, model_name="fixed", announce=lambda words: print(words, flush=True))
print("ended", flush=True)
"""


def test_a_port_in_use_is_told_with_its_cure():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(BadInput, match="another port"):
            serve(Fixed("hi"), None, port=taken.getsockname()[1], model_name="fixed")


def test_a_number_that_is_no_port_is_refused():
    with pytest.raises(BadInput, match=r"0\.\.65535"):
        serve(Fixed("hi"), None, port=70000, model_name="fixed")


def test_a_server_announces_its_address_and_ctrl_c_ends_it_cleanly():
    with subprocess.Popen([sys.executable, "-c", SERVE], stdout=-1, stderr=-1, text=True) as process:
        words = process.stdout.readline()
        assert "http://127.0.0.1:" in words
        url = words.split()[3]
        assert httpx.get(f"{url}/models", timeout=20).json()["data"][0]["id"] == "fixed"
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=20)
    assert (out.strip(), errors, process.returncode) == ("ended", "", 0)


def test_importing_the_stage_imports_no_server():
    code = "import sys, evolvent.serve; print({'fastapi', 'uvicorn', 'httpx', 'torch'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "set()"
