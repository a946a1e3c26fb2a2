import json

import pytest

from evolvent import __version__
from evolvent.cli.main import VERBS


def test_help_names_every_verb(told):
    out = told("--help")[1]
    assert all(verb in out for verb in VERBS)
    assert told()[1] == out


@pytest.mark.parametrize("verb", list(VERBS))
def test_every_verb_has_help_and_shows_only_its_own_flags(told, verb):
    status, out, _ = told(verb, "--help")
    assert status == 0
    assert VERBS[verb][1] in out
    assert ("--resume" in out) == (verb == "run")
    assert ("--port" in out) == (verb in ("serve", "world"))


def test_the_version_is_told(told):
    assert told("--version")[1] == f"evolvent {__version__}\n"


def test_wrong_verbs_flags_and_fields_name_their_neighbours(refused):
    assert "did you mean run" in refused("rnu")
    assert "did you mean --seed" in refused("run", "--sed", "1")
    assert "did you mean num_steps" in refused("run", "num_stps=3")
    assert "did you mean start_levels" in refused("run", "curriculum.start_level=3")
    assert "show takes no fields" in refused("show", "x", "source=chain")


def test_a_flag_without_effect_is_refused(refused):
    assert "--port has no effect on run" in refused("run", "--port", "3")
    assert "--dry-run has no effect on eval" in refused("eval", "nano", "--dry-run")
    assert "--seed has no effect on show" in refused("show", "x", "seed=1")
    assert "no flag --dry" in refused("run", "--dry")


def test_a_flag_with_a_wrong_value_is_refused(refused):
    assert "invalid int value" in refused("run", "--seed", "x")
    assert "not a whole number" in refused("run", "seed=x")


def test_an_error_has_a_json_form_on_stdout(told):
    status, out, err = told("run", "nosuch", "--json")
    assert status == 2
    assert json.loads(out)["error"] == {
        "what": "no recipe 'nosuch'", "where": "evolvent run", "got": "nosuch", "wanted": None,
        "cure": json.loads(out)["error"]["cure"],
    }  # fmt: skip
    assert err.startswith("error: no recipe 'nosuch'")
