import platform

from evolvent import __version__


def test_every_part_says_whether_it_works_what_it_is_and_the_cure(answered):
    found = answered("doctor")
    assert (found.pop("version"), found.pop("python")) == (__version__, platform.python_version())
    assert found.pop("ok") is True
    assert found.pop("sandbox") == "monty"
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
    for part in found.values():
        assert set(part) == {"ok", "what", "cure"}
        assert isinstance(part["ok"], bool) and part["what"]


def test_a_missing_extra_comes_with_the_line_that_installs_it(answered):
    for name, part in answered("doctor").items():
        if isinstance(part, dict) and not part["ok"] and name in ("trackio", "wandb"):
            assert part["cure"] == f'pip install "evolvent[{name}]"'


def test_an_endpoint_that_is_not_there_makes_the_doctor_unhappy(told):
    status, out, _ = told("doctor", "url=http://127.0.0.1:9/v1#model")
    assert status == 1
    assert "broken" in out


def test_an_endpoint_that_answers_is_well(answered):
    from evolvent.policies.scripted import Fixed
    from evolvent.serve import background, make_app

    with background(make_app(Fixed("hello"), None, "fixed")) as base:
        found = answered("doctor", f"url={base}/v1")
    assert found["endpoint"]["ok"]
    assert "no token ids" in found["endpoint"]["what"]
