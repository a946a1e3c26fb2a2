import pytest

from evolvent.hive.hub.hub import Registration, Settings, open_hub
from evolvent.hive.hub.identity import (
    HOUSE,
    add_user,
    find_agent,
    find_user,
    invite,
    register,
    register_batch,
    revoke_user,
)
from evolvent.hive.hub.refusals import Refused
from evolvent.hive.hub.schema import agents, users
from hive.hub.desk import Desk


def header(token):
    return {"X-Agent-Token": token}


def test_a_token_is_shown_once_and_kept_as_a_hash(any_hub):
    with any_hub.database.write() as connection:
        name, token = register(connection, "ann")
        kept = dict(connection.execute(agents.select()).mappings().one())
        assert find_agent(connection, token)["id"] == name == "ann"
        assert token not in str(kept) and len(token) > 40
        assert find_agent(connection, kept["token_hash"]) is None, "a hash is no token"


def test_a_name_is_never_a_token(client):
    client.post("/api/register", json={"preferred_name": "ann"})
    for token in ("ann", "", "ha_", HOUSE):
        assert client.post("/api/agents/token", headers=header(token)).status_code == 401


@pytest.mark.parametrize(
    "name", ["hub", "admin", "none", "A", "a", "a--b", "-a", "a" * 21, "a b", "../x", "ä1", "a\0b"]
)
def test_names_that_are_reserved_or_tricks_are_refused(client, name):
    assert client.post("/api/register", json={"preferred_name": name}).status_code in (400, 409, 422)


def test_a_taken_name_is_a_conflict_and_a_batch_is_all_or_none(any_hub):
    with any_hub.database.write() as connection:
        register(connection, "swarm-2")
    with pytest.raises(Refused) as found, any_hub.database.write() as connection:
        register_batch(connection, 3, "swarm")
    assert found.value.status == 409
    with any_hub.database.read() as connection:
        assert len(connection.execute(agents.select()).all()) == 1


def test_the_hub_itself_is_not_listed_among_the_agents(hub, tmp_path, client):
    Desk(hub, tmp_path, "ann", "bob")
    assert {one["id"] for one in client.get("/api/agents").json()["agents"]} == {"ann", "bob"}


def test_a_renewed_token_ends_the_old_one(client):
    old = client.post("/api/register", json={"preferred_name": "ann"}).json()["token"]
    new = client.post("/api/agents/token", headers=header(old)).json()["token"]
    assert client.post("/api/agents/token", headers=header(old)).status_code == 401
    assert client.post("/api/agents/token", headers=header(new)).status_code == 200


def test_a_revoked_agent_is_nobody_and_its_runs_stay(hub, tmp_path, client):
    desk = Desk(hub, tmp_path)
    sha = desk.enter("ann", "hers")
    key, _ = desk.user("admin")
    assert client.delete("/api/agents/ann", headers={"Authorization": f"Bearer {key}"}).status_code == 204
    assert client.get("/api/tasks/labels/budget", headers=header(desk.tokens["ann"])).status_code == 401
    assert client.get(f"/api/tasks/labels/runs/{sha}").json()["agent_id"] == "ann"


def test_only_an_owner_or_an_admin_revokes(hub, tmp_path, client):
    desk = Desk(hub, tmp_path)
    (mine, _), (other, _) = desk.user("user"), desk.user("owner")
    told = client.post(
        "/api/auth/claim", json={"token": desk.tokens["ann"]}, headers={"Authorization": f"Bearer {mine}"}
    )
    assert told.json() == {"agent_id": "ann", "status": "claimed"}
    assert client.delete("/api/agents/ann", headers={"Authorization": f"Bearer {other}"}).status_code == 403
    again = client.post(
        "/api/auth/claim", json={"token": desk.tokens["ann"]}, headers={"Authorization": f"Bearer {other}"}
    )
    assert again.status_code == 409
    assert client.delete("/api/agents/ann", headers={"Authorization": f"Bearer {mine}"}).status_code == 204


def test_keys_of_users_have_roles_and_end(any_hub):
    with any_hub.database.write() as connection:
        key = add_user(connection, "kim", "worker")
        assert find_user(connection, key).role == "worker"
        assert key not in str(connection.execute(users.select()).all())
        revoke_user(connection, "kim")
        assert find_user(connection, key) is None


@pytest.mark.parametrize(
    ("role", "path", "body", "status"),
    [
        ("user", "/api/work/lease", {}, 403),
        ("owner", "/api/work/lease", {}, 403),
        ("worker", "/api/work/lease", {}, 204),
        ("worker", "/api/users", {"name": "x", "role": "admin"}, 403),
        ("owner", "/api/invites", {"uses": 1}, 403),
        ("admin", "/api/invites", {"uses": 1}, 201),
    ],
)
def test_each_role_may_do_what_it_is_for(hub, client, role, path, body, status):
    with hub.database.write() as connection:
        key = add_user(connection, "somebody", role)
    assert client.post(path, json=body, headers={"Authorization": f"Bearer {key}"}).status_code == status


def test_registration_by_invitation_and_closed(tmp_path):
    from starlette.testclient import TestClient

    from evolvent.hive.hub.app import make_app

    hub = open_hub(tmp_path / "hub", settings=Settings(registration=Registration.INVITED))
    with hub.database.write() as connection:
        code = invite(connection, 2)
    with TestClient(make_app(hub)) as client:
        assert client.post("/api/register", json={}).status_code == 403
        assert client.post("/api/register", json={"invite": "hi_guess"}).status_code == 403
        assert client.post("/api/register/batch", json={"count": 2, "invite": code}).status_code == 201
        assert client.post("/api/register", json={"invite": code}).status_code == 403, "it is used up"
    hub.close()
    hub = open_hub(tmp_path / "closed", settings=Settings(registration=Registration.CLOSED))
    with TestClient(make_app(hub)) as client:
        assert client.post("/api/register", json={}).status_code == 403
    hub.close()


def test_guessing_tokens_is_slowed_down_for_the_guesser(client):
    codes = [client.post("/api/agents/token", headers=header(f"ha_guess{i}")).status_code for i in range(30)]
    assert codes[0] == 401 and codes[-1] == 429
    assert "Retry-After" in client.post("/api/agents/token", headers=header("ha_x")).headers


def test_registering_in_a_flood_is_slowed_down(client):
    codes = [client.post("/api/register", json={}).status_code for _ in range(70)]
    assert codes[0] == 201 and codes[-1] == 429


def test_who_did_what_with_keys_stands_in_the_audit_trail_and_nowhere_else(hub, tmp_path, client):
    desk = Desk(hub, tmp_path)
    key, _ = desk.user("admin")
    client.post("/api/agents/token", headers=header(desk.tokens["ann"]))
    kinds = [one["kind"] for one in client.get("/api/activity").json()["events"]]
    assert "token" not in kinds and "user" not in kinds and "agent" in kinds
    assert client.get("/api/audit").status_code == 401
    trail = client.get("/api/audit", headers={"Authorization": f"Bearer {key}"}).json()["events"]
    assert {"token", "user", "agent", "fork"} <= {one["kind"] for one in trail}
    assert desk.tokens["ann"] not in str(trail) and key not in str(trail)


def test_the_secret_of_a_hub_is_kept_and_only_its_owner_reads_it(tmp_path):
    first = open_hub(tmp_path / "hub")
    again = open_hub(tmp_path / "hub")
    assert first.secret == again.secret and (tmp_path / "hub" / "secret").stat().st_mode & 0o077 == 0
    assert open_hub(tmp_path / "other").secret != first.secret
