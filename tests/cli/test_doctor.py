import platform
import subprocess
import sys

from evolvent import __version__
from evolvent.envs.sandbox import choose
from evolvent.envs.sandbox.choose import TIERS


def test_every_part_says_whether_it_works_what_it_is_and_the_cure(answered):
    found = answered("doctor")
    assert (found.pop("version"), found.pop("python")) == (__version__, platform.python_version())
    assert found.pop("ok") is True
    sandboxes = found.pop("sandboxes")
    assert list(sandboxes) == list(TIERS)
    assert found.pop("sandbox") == next(name for name, part in sandboxes.items() if part["ok"])
    assert {
        "train",
        "transformers",
        "reasoning",
        "tensorboard",
        "trackio",
        "wandb",
        "interpreter",
        "math",
        "disk",
    } <= set(found)
    for part in (*found.values(), *sandboxes.values()):
        assert set(part) == {"ok", "what", "cure"}
        assert isinstance(part["ok"], bool) and part["what"]


def test_a_missing_extra_comes_with_the_line_that_installs_it(answered):
    for name, part in answered("doctor").items():
        if name in ("trackio", "wandb") and not part["ok"]:
            assert part["cure"] == f'pip install "evolvent[{name}]"'


def test_an_endpoint_that_is_not_there_makes_the_doctor_unhappy(told):
    status, out, _ = told("doctor", "url=http://127.0.0.1:9/v1#model")
    assert status == 1
    assert "broken" in out


def test_an_endpoint_that_answers_is_well(answered):
    from evolvent.policies.scripted import Fixed
    from evolvent.serve import PolicyDesk, background, make_app

    with background(make_app(PolicyDesk(Fixed("hello"), None, "fixed"))) as base:
        found = answered("doctor", f"url={base}/v1")
    assert found["endpoint"]["ok"]
    assert "no token ids" in found["endpoint"]["what"]


def test_a_tier_that_does_not_work_says_why_and_the_cure(answered):
    for part in answered("doctor")["sandboxes"].values():
        assert part["ok"] or part["cure"], part


def test_a_machine_without_any_sandbox_is_well_and_is_told_so(told, monkeypatch):
    monkeypatch.setattr(choose, "_probed", dict.fromkeys(TIERS, "nothing works here; another machine"))
    status, out, _ = told("doctor")
    assert status == 0
    assert "sandbox none" in out and "never run without one" in out and "another machine" in out


def test_the_help_of_doctor_probes_nothing():
    code = "import sys, evolvent.cli.main; sys.exit(any('sandbox' in name for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
