import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

EVOLVENT = Path(sys.executable).with_name("evolvent")


def test_a_checkpoint_is_served_until_ctrl_c(tiny_run):
    process = subprocess.Popen(
        [EVOLVENT, "serve", str(tiny_run), "--port", "0", "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        told = json.loads(process.stdout.readline())
        body = {"model": told["model"], "messages": [{"role": "user", "content": "1+1?"}], "max_tokens": 8}
        answer = httpx.post(f"{told['url']}/chat/completions", json=body, timeout=60).json()
        assert answer["choices"][0]["message"]["role"] == "assistant"
        assert httpx.get(f"{told['url']}/models").json()["data"][0]["max_model_len"] == 512
        process.send_signal(signal.SIGINT)
        rest, err = process.communicate(timeout=30)
        assert process.returncode == 0, err
        assert rest == ""
        assert f"curl {told['url']}/chat/completions" in err
    finally:
        process.kill()


def test_a_port_in_use_is_said(tiny_run, refused):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        message = refused("serve", tiny_run, "--port", other.getsockname()[1])
    assert "cannot listen" in message
    assert "--port 0" in message


def test_a_port_that_cannot_be_is_refused(tiny_run, refused):
    assert "0..65535" in refused("serve", tiny_run, "--port", "70000")
    assert "0..65535" in refused("serve", tiny_run, "port=x")
    assert "--seed has no effect on serve" in refused("serve", tiny_run, "--seed", "1")


@pytest.mark.slow
def test_a_key_from_the_environment_is_asked_for(tiny_run):
    process = subprocess.Popen(
        [EVOLVENT, "serve", str(tiny_run), "--port", "0", "--json", "key_env=MY_KEY", "max_queue=3"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "MY_KEY": "hush hush"},
    )  # fmt: skip
    try:
        url = json.loads(process.stdout.readline())["url"]
        assert httpx.get(f"{url}/models").status_code == 401
        assert httpx.get(f"{url}/models", headers={"Authorization": "Bearer hush hush"}).status_code == 200
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
        assert "$MY_KEY" in err and 'os.environ["MY_KEY"]' in err and "hush hush" not in err
    finally:
        process.kill()


def test_other_machines_are_let_in_with_a_key_only(tiny_run, refused):
    assert "key_env" in refused("serve", tiny_run, "host=0.0.0.0")
    assert "NO_SUCH_KEY is empty" in refused("serve", tiny_run, "key_env=NO_SUCH_KEY")
    assert "max_queue" in refused("serve", tiny_run, "max_queue=many")
    assert "max_queue" in refused("serve", tiny_run, "max_queue=0")
