import json
import threading

import httpx
import pytest

from evolvent.errors import BadInput, InfrastructureError
from evolvent.hive.agents.calls import Call, Calls, read_url
from evolvent.hive.agents.client import HubClient
from evolvent.hive.agents.keys import Key, default_home, hub_folder, keep_key, read_key
from evolvent.hive.hub.identity import add_user
from evolvent.hive.hub.refusals import Refused
from hive.live import live_hub, make_slope

TOKEN = "ha_a-secret-that-must-not-be-shown"


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folder = tmp_path_factory.mktemp("client")
    with live_hub(folder, make_slope(folder / "slope"), with_worker=False) as (hub, url):
        hub.limits.rates.clear()
        yield hub, url


@pytest.fixture
def agent(served):
    with HubClient(served[1]) as nobody:
        made = nobody.register()
    with HubClient(served[1], token=made["token"]) as client:
        client.name = made["id"]
        yield client


def answers(*planned):
    """A server of these answers, one after the other, that notes what it was asked."""
    asked = []

    def handle(request):
        asked.append(request)
        one = planned[min(len(asked), len(planned)) - 1]
        if isinstance(one, Exception):
            raise one
        status, body, headers = (*one, {}, {})[:3]
        return httpx.Response(status, json=body, headers=headers)

    return httpx.MockTransport(handle), asked


def calls(transport, **more):
    return Calls("http://hub.test", {"X-Agent-Token": TOKEN}, transport=transport, **more)


GET, POST = Call("GET", "/stats", is_idempotent=True), Call("POST", "/tasks/t/claim", json={"content": "x"})


@pytest.mark.parametrize(
    "first", [(503, {"detail": "busy"}), (429, {"detail": "slow down"}, {"Retry-After": "0"}), httpx.ConnectError("no")]
)
def test_what_the_hub_has_not_done_is_asked_again(first):
    transport, asked = answers(first, (200, {"fine": True}))
    for call in (GET, POST):
        asked.clear()
        assert calls(transport).ask(call) == {"fine": True}
        assert len(asked) == 2


@pytest.mark.parametrize("first", [httpx.ReadTimeout("late"), httpx.RemoteProtocolError("cut"), (502, {"detail": "?"})])
def test_what_may_have_been_done_is_asked_again_only_where_twice_is_once(first):
    transport, asked = answers(first, (200, {"fine": True}))
    assert calls(transport).ask(GET) == {"fine": True}
    asked.clear()
    with pytest.raises(InfrastructureError):
        calls(transport).ask(POST)
    assert len(asked) == 1


def test_patience_ends_with_the_error_of_the_last_try():
    transport, asked = answers((503, {"detail": "the database of the hub does not answer"}))
    with pytest.raises(InfrastructureError, match="the database of the hub"):
        calls(transport, patience_s=0.5).ask(GET)
    assert 2 <= len(asked) <= 4
    transport, asked = answers((429, {"detail": "too many: claim"}, {"Retry-After": "60"}))
    with pytest.raises(Refused, match="too many") as caught:
        calls(transport, patience_s=0.5).ask(POST)
    assert (caught.value.status, caught.value.retry_after_s, len(asked)) == (429, 60, 1)


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        ((400, {"detail": "the parent is no run of this task"}), BadInput, "the parent is no run"),
        ((404, {"detail": "task not found"}), Refused, "task not found"),
        ((500, {}), InfrastructureError, "{}"),
        ((302, {}, {"Location": "http://elsewhere.test"}), InfrastructureError, "{}"),
    ],
)
def test_a_refusal_has_the_words_of_the_hub(answer, kind, words):
    transport, asked = answers(answer)
    with pytest.raises(kind, match=words):
        calls(transport, patience_s=0.0).ask(GET)
    assert len(asked) == 1, "a token goes to the hub that it belongs to, and is not led elsewhere"


def test_a_page_that_is_no_hub_is_told_to_be_none():
    transport = httpx.MockTransport(lambda request: httpx.Response(200, text="<html>hello"))
    with pytest.raises(InfrastructureError, match="is this the address of a hub"):
        calls(transport).ask(GET)


def test_no_error_and_no_repr_shows_a_secret():
    shown = [repr(HubClient("http://hub.test", token=TOKEN)), repr(Key("a", TOKEN)), repr(calls(answers((200,))[0]))]
    for bad in (f"{TOKEN}\n", f"{TOKEN}\x00", f"{TOKEN}é", f"{TOKEN} "):
        with pytest.raises(BadInput, match="no token") as caught:
            HubClient("http://hub.test", token=bad)
        shown.append(str(caught.value))
    for planned in (httpx.ConnectError("no"), (500, {"detail": "broken"}), (401, {"detail": "a wrong token"})):
        with pytest.raises((InfrastructureError, BadInput)) as caught:
            calls(answers(planned)[0], patience_s=0.0).ask(GET)
        shown.append(str(caught.value))
    assert not [words for words in shown if TOKEN in words]


@pytest.mark.parametrize(
    "url",
    ["", "127.0.0.1:8000", "ftp://hub.test", "http://", "http://a:b@hub.test", "http://hub\n.test", "file:///etc"],
)
def test_an_address_that_is_none_is_refused(url):
    with pytest.raises(BadInput, match="hub"):
        read_url(url)


def test_an_address_may_be_copied_with_what_stands_behind_it():
    assert {read_url(f"http://hub.test:80{end}") for end in ("", "/", "/api", "/api/")} == {"http://hub.test:80"}
    assert read_url("https://hub.test/hive/") == "https://hub.test/hive"


def test_a_name_is_no_path_to_another_route(agent):
    for task in ("../stats", "..", "slope/../..", "slope?x", "%2e%2e"):
        with pytest.raises(Refused) as caught:
            agent.task(task)
        assert caught.value.status in (404, 422)


def test_an_agent_reads_and_writes_everything_it_needs(agent):
    task = agent.task("slope")
    assert task["mutable"] == ["params.json", "more"]
    assert agent.context("slope")["task"]["base_sha"] == task["base_sha"]
    [run] = agent.runs("slope", view="all", sort="recent")
    assert run["id"] == task["base_sha"]
    assert agent.run("slope", run["id"][:8])["number"] == 1
    assert agent.budget("slope")["evaluations"] == {"used": 0, "limit": 50}
    assert agent.graph("slope")["nodes"][0]["sha"] == run["id"]
    assert agent.leaderboard("slope")["rows"] == []
    post = agent.post("slope", "a thought", run["id"])
    said = agent.comment("slope", post["id"], "and another")
    assert agent.comment("slope", said["id"], "and one to that", "comment")
    assert agent.post_of("slope", post["id"])["comments"][0]["content"] == "and another"
    assert [one["id"] for one in agent.feed("slope", agent=agent.name)["items"]] == [post["id"]]
    assert agent.claim("slope", "trying a")["expires_at"]
    assert "trying a" in [one["content"] for one in agent.context("slope")["active_claims"]]
    skill = agent.add_skill("slope", name="step", description="small steps", code_snippet="a += 1")
    assert skill["id"] in [one["id"] for one in agent.skills("slope")["skills"]]
    assert agent.search("slope", "thought")["results"]
    item = agent.add_item("slope", title="try b")
    assert agent.take_item("slope", item["id"])["assignee_id"] == agent.name
    assert agent.change_item("slope", item["id"], title="try b first")["title"] == "try b first"
    assert agent.comment_item("slope", item["id"], "why?")
    assert agent.item("slope", item["id"])["title"] == "try b first"
    assert agent.items("slope")["items"]
    assert agent.stats()["total_runs"] >= 1
    assert agent.health()["status"] == "ok"


def test_votes_are_of_others(served, agent):
    with HubClient(served[1]) as nobody:
        other = nobody.register()
    post = agent.post("slope", "vote for this")
    with HubClient(served[1], token=other["token"]) as voter:
        assert voter.vote("slope", post["id"], "up")["upvotes"] == 1


def test_a_token_can_be_renewed_and_the_old_one_is_worth_nothing(served, agent):
    new = agent.renew_token()["token"]
    with pytest.raises(Refused) as caught:
        agent.budget("slope")
    assert caught.value.status == 401
    with HubClient(served[1], token=new) as again:
        assert again.budget("slope")


def test_a_user_owns_what_it_adopts(served, agent):
    hub, url = served
    with hub.database.write() as connection:
        key = add_user(connection, f"user of {agent.name}", "admin")
    token = agent.renew_token()["token"]
    with HubClient(url, user_key=key) as user:
        assert user.adopt(token)["agent_id"] == agent.name
        assert agent.name in [one["id"] for one in user.me()["agents"]]
        [first, second] = user.register_batch(2)
        user.revoke(first["id"])
        assert user.change_task("slope", description="other words")["description"] == "other words"
        sha = agent.task("slope")["base_sha"]
        assert user.change_run("slope", sha, valid=False)["valid"] is False
        assert user.change_run("slope", sha, valid=True)["valid"] is True
    with HubClient(url, token=first["token"]) as gone, pytest.raises(Refused):
        gone.budget("slope")
    with HubClient(url, token=second["token"]) as here:
        assert here.budget("slope")


def test_pages_follow_each_other_to_the_end(served):
    transport, asked = answers(
        (200, {"runs": [{"number": 3}], "has_next": True}),
        (200, {"runs": [{"number": 2}], "has_next": True}),
        (200, {"runs": [{"number": 1}], "has_next": False}),
    )
    found = list(HubClient("http://hub.test", transport=transport).runs("slope", sort="recent"))
    assert [run["number"] for run in found] == [3, 2, 1]
    assert [request.url.params["page"] for request in asked] == ["1", "2", "3"]


def test_what_happens_is_heard_as_it_happens(served, agent):
    heard = []
    last = json.loads(httpx.get(f"{served[1]}/api/activity?most=1000").text)["events"][-1]["id"]

    def listen():
        with HubClient(served[1]) as ear:
            for kind, data in ear.events("slope", after=last):
                heard.append((kind, data["agent_id"]))
                return

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    agent.post("slope", "hello")
    thread.join(timeout=20)
    assert heard == [("post", agent.name)]


# ---------------------------------------------------------------- keys


def test_a_key_is_kept_for_its_owner_alone(tmp_path):
    path = tmp_path / "new" / "agents" / "one.json"
    assert read_key(path) is None
    keep_key(path, Key("one", TOKEN))
    assert read_key(path) == Key("one", TOKEN)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o077 == 0
    assert [one.name for one in path.parent.iterdir()] == ["one.json"]
    path.chmod(0o644)
    with pytest.raises(BadInput, match="chmod 600"):
        read_key(path)
    path.chmod(0o600)
    path.write_text("{}")
    with pytest.raises(BadInput, match="broken") as caught:
        read_key(path)
    assert TOKEN not in str(caught.value)


def test_agents_live_where_the_environment_says(tmp_path, monkeypatch):
    monkeypatch.setenv("EVOLVENT_HIVE_HOME", str(tmp_path))
    assert hub_folder(default_home(), "http://127.0.0.1:81") == tmp_path / "127.0.0.1-81"
    monkeypatch.delenv("EVOLVENT_HIVE_HOME")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    assert hub_folder(default_home(), "https://hub.test") == tmp_path / "config" / "evolvent" / "hive" / "hub.test-443"
