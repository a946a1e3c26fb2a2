import pytest

from evolvent.hive.agents.client import HubClient
from evolvent.hive.hub.identity import add_user
from hive.live import live_hub, make_slope


@pytest.fixture
def admin(tmp_path, monkeypatch):
    with live_hub(tmp_path / "hub", make_slope(tmp_path / "slope")) as (hub, url):
        with hub.database.write() as connection:
            key = add_user(connection, "anna", "admin")
        monkeypatch.setenv("EVOLVENT_HIVE", url)
        monkeypatch.setenv("EVOLVENT_HIVE_KEY", key)
        monkeypatch.setenv("EVOLVENT_HIVE_HOME", str(tmp_path / "agents"))
        yield url


def test_a_run_is_called_off_by_the_number_that_everybody_sees_and_by_its_commit(admin, answered, refused):
    answered("hive", "join", "slope", "agent=random", "evaluations=1")
    with HubClient(admin) as nobody:
        sha = next(run["id"] for run in nobody.runs("slope", view="all", sort="recent") if run["number"] == 2)
    assert answered("hive", "admin", "call-off", "slope", "#2")["id"] == sha
    assert answered("hive", "admin", "call-on", "slope", "2")["valid"] is True
    assert answered("hive", "admin", "call-off", "slope", sha[:8])["valid"] is False
    assert "no run has this number" in refused("hive", "admin", "call-off", "slope", "7")
    assert "run not found" in refused("hive", "admin", "call-off", "slope", "x")


def test_those_who_see_the_hold_out_are_told_one_a_line(admin, told, answered):
    answered("hive", "join", "slope", "agent=random", "evaluations=1")
    status, out, _ = told("hive", "admin", "holdout", "slope")
    assert status == 0
    assert out and all(line.split()[0] == "runs" and len(line.split()[1]) == 8 for line in out.splitlines()), out
