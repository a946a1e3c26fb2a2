"""The document of the API is attacked: whatever is sent, the hub answers, and never with its own fault."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable

from evolvent.hive.hub.app import make_app
from evolvent.hive.hub.hub import open_hub
from evolvent.hive.hub.limits import Limits
from hive.hub.desk import Desk

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")
ENDLESS = "/api/events"
ENDS_ITSELF = "/api/agents/token"  # who asked would be nobody from then on


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgres", marks=pytest.mark.slow)])
def attacked(request, tmp_path_factory):
    """A hub without limits, with an agent and an admin who send the requests."""
    folder = tmp_path_factory.mktemp(request.param)
    url = request.getfixturevalue("postgres").take() if request.param == "postgres" else None
    hub = open_hub(folder / "hub", url)
    hub.limits = Limits(rates={})
    desk = Desk(hub, folder)
    sha = desk.enter("ann", "first")
    desk.work(lambda one, _: 0.8 if one == sha else 0.5)
    key, _ = desk.user("admin")
    yield make_app(hub), {"X-Agent-Token": desk.tokens["ann"], "Authorization": f"Bearer {key}"}, sha
    hub.close()


def attack(attacked, max_examples, modes=("POSITIVE", "NEGATIVE")):
    """How many requests were answered; right and wrong ones, half of them about things that are there."""
    from schemathesis import GenerationMode
    from schemathesis.checks import not_a_server_error

    app, headers, sha = attacked
    known = {"task_id": "labels", "sha": sha, "agent_id": "bob", "post_id": 1, "job_id": 1, "item_id": "LABELS-1"}
    schema = schemathesis.openapi.from_asgi("/openapi.json", app).exclude(path=[ENDLESS, ENDS_ITSELF])
    num, wrong = 0, []
    for found in schema.get_all_operations():
        operation = found.ok()
        for mode in (GenerationMode[name] for name in modes):

            @settings(max_examples=max_examples, deadline=None, suppress_health_check=list(HealthCheck), database=None)
            @given(case=operation.as_strategy(generation_mode=mode))
            def ask(case):
                nonlocal num
                num += 1
                if num % 2 and case.path_parameters:
                    case.path_parameters |= {name: known[name] for name in case.path_parameters if name in known}
                if isinstance(case.body, dict) and isinstance(case.body.get("wait_s"), int | float):
                    case.body["wait_s"] = min(case.body["wait_s"], 0.01)
                case.validate_response(case.call(headers=headers), checks=[not_a_server_error])

            try:
                ask()
            except Unsatisfiable:
                continue  # nothing can be wrong with what has no parameters
            except Exception as error:
                wrong.append(f"{operation.label}: {error}")
    assert not wrong, "\n\n".join(wrong)[:6000]
    return num


def test_nothing_that_is_sent_is_answered_with_a_fault_of_the_hub(attacked):
    assert attack(attacked, 1, ["POSITIVE"]) > 30


@pytest.mark.slow
def test_nor_is_much_more_of_it(attacked):
    print(attack(attacked, 40), "requests")
