import json

import pytest

from evolvent.cli import main

TINY = (
    "cold_start.num_steps=6", "num_steps=2", "tasks_per_step=4", "group_size=2", "suite.num_tasks=8",
    "suite.num_tasks_above=4", "suite.num_levels=2", "num_threads=1", "model.depth=1",
)  # fmt: skip


@pytest.fixture(scope="session")
def tiny_words():
    """The fields of a run of seconds."""
    return TINY


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory):
    """A finished run."""
    path = tmp_path_factory.mktemp("runs") / "tiny"
    assert main(["run", *TINY, f"out={path}", "--json"]) == 0
    return path


@pytest.fixture
def told(capsys):
    """Run a command in process; gives (status, stdout, stderr)."""

    def run(*words):
        capsys.readouterr()
        status = main([str(w) for w in words])
        found = capsys.readouterr()
        return status, found.out, found.err

    return run


@pytest.fixture
def answered(told):
    """Run a command with --json that must succeed; gives what stdout held, which must be one line of JSON."""

    def run(*words):
        status, out, err = told(*words, "--json")
        assert status == 0, err
        assert out.count("\n") == 1, out
        return json.loads(out)

    return run


@pytest.fixture
def refused(told):
    """Run a command that must be refused; gives the message, after a look at its JSON form too."""

    def run(*words, status=2):
        got, _, err = told(*words)
        assert got == status, err
        assert err.startswith("error: "), err
        return err

    return run
