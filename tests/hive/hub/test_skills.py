import pytest
from sqlalchemy import select, update

from evolvent.hive.hub.schema import runs, skills, tasks
from hive.hub.scene import Scene, refused


@pytest.fixture
def scene(any_speaker):
    return Scene(any_speaker)


def test_a_skill_is_kept_as_it_was_written_and_counted(scene):
    made = scene.post("/skills", "ann", name="warm start", description="begin well", code_snippet="def warm(): ...\n")
    [told] = scene.get("/skills")["skills"]
    assert told == made
    assert (told["name"], told["description"], told["code_snippet"]) == (
        "warm start",
        "begin well",
        "def warm(): ...\n",
    )
    assert (told["score_delta"], told["source_run_id"], told["upvotes"], told["agent_id"]) == (None, None, 0, "ann")
    with scene.hub.database.read() as connection:
        assert connection.execute(select(tasks.c.num_skills)).scalar() == 1


def test_what_a_skill_gained_is_computed_from_official_numbers_whatever_an_agent_says(scene):
    start = scene.run("ann", 4.0)
    better = scene.run("ann", 3.5, parent=start, claim=0.001)
    made = scene.post("/skills", "ann", name="x", source_run_id=better, score_delta=-999.0)
    assert made["score_delta"] == -0.5 and made["source_run_id"] == better
    with scene.hub.database.write() as connection:
        connection.execute(update(runs).where(runs.c.sha == start).values(is_valid=False))
        connection.execute(update(tasks).values(version=tasks.c.version + 1))
    assert scene.get("/skills")["skills"][0]["score_delta"] is None, "a run that was called off says nothing"


def test_a_skill_whose_run_is_not_measured_yet_gains_its_number_once_it_is(scene):
    start = scene.run("ann", 4.0)
    pending = scene.run("ann", parent=start)
    assert scene.post("/skills", "ann", name="x", source_run_id=pending)["score_delta"] is None
    with scene.hub.database.write() as connection:
        connection.execute(update(runs).where(runs.c.sha == pending).values(value=5.0, status="success"))
        connection.execute(update(tasks).values(version=tasks.c.version + 1))
    assert scene.get("/skills")["skills"][0]["score_delta"] == 1.0
    assert scene.post("/skills", "ann", name="y", source_run_id=start)["score_delta"] is None, "it has no parent"


def test_a_skill_comes_from_a_run_of_this_task(scene):
    scene.open("other")
    foreign = scene.run("ann", 1.0, task="other", sha="d" * 40)
    refused(scene.ask("POST", "/skills", "ann", json={"name": "x", "source_run_id": foreign}), 404)
    twins = [scene.run("ann", 1.0, sha="e" * 10 + str(i) * 30) for i in range(2)]
    refused(scene.ask("POST", "/skills", "ann", json={"name": "x", "source_run_id": twins[0][:8]}), 400)
    refused(scene.ask("POST", "/skills", "ann", json={"name": "x", "source_run_id": "%%%%%%%%"}), 422)


def test_skills_are_found_by_words_of_name_description_and_code(scene):
    first = scene.post("/skills", "ann", name="warm start", description="begin well", code_snippet="rate = cosine(i)")
    scene.post("/skills", "bob", name="cold start", description="begin badly")

    def found(q):
        return [one["name"] for one in scene.get("/skills", q=q)["skills"]]

    assert found("warm") == ["warm start"] and found("BEGINS start") == ["cold start", "warm start"]
    assert found("cosine") == ["warm start"] and found("nothing like it") == [] and found("") == found("!?") == []
    assert first["id"] in [one["id"] for one in scene.get("/skills", q=str(first["id"]))["skills"]]


def test_a_skill_is_found_by_its_number_first_even_among_many_that_have_it_as_a_word(scene):
    scene.hub.limits.rates.clear()
    wanted = scene.post("/skills", "ann", name="the one")["id"]
    for _ in range(25):
        number = scene.post("/skills", "ann", name=f"see {wanted} and {wanted}")["id"]
    scene.post(f"/skills/{number}/vote", "bob", type="up")
    assert scene.get("/skills", q=str(wanted))["skills"][0]["name"] == "the one"
    assert scene.get("/skills", q=f"#{wanted}")["skills"][0]["name"] == "the one"
    for far in (str(2**63 - 1), str(2**63), "9" * 300, "٣"):
        assert scene.get("/skills", q=far)["skills"] == []


def test_skills_that_others_liked_come_first_and_nobody_likes_their_own(scene):
    old, new = (scene.post("/skills", "ann", name=name)["id"] for name in ("old", "new"))
    assert [one["id"] for one in scene.get("/skills")["skills"]] == [new, old]
    assert scene.post(f"/skills/{old}/vote", "bob", type="up") == {"upvotes": 1, "downvotes": 0}
    assert [one["id"] for one in scene.get("/skills")["skills"]] == [old, new]
    refused(scene.ask("POST", f"/skills/{old}/vote", "ann", json={"type": "up"}), 403)
    refused(scene.ask("POST", f"/skills/{new + 9}/vote", "bob", json={"type": "up"}), 404)
    page = scene.get("/skills", per_page=1)
    assert page["has_next"] and len(page["skills"]) == 1 and scene.get("/skills")["per_page"] == 20


def test_a_skill_may_name_an_item_of_this_task(scene):
    item = scene.post("/items", "ann", title="try things")["id"]
    assert scene.post("/skills", "ann", name="x", item_id=item)["item_id"] == item
    refused(scene.ask("POST", "/skills", "ann", json={"name": "x", "item_id": "GOLF-99"}), 404)
    with scene.hub.database.read() as connection:
        assert len(connection.execute(select(skills.c.id)).all()) == 1


WRONG = [
    *({}, {"name": ""}, {"name": "  "}, {"name": "x" * 201}, {"name": "a\0b"}, {"name": 3}),
    *({"name": "x", "description": "y" * 20_001}, {"name": "x", "code_snippet": "z" * 100_001}),
    *({"name": "x", "code_snippet": "a\0b"}, {"name": "x", "source_run_id": "abc"}),
]


def test_a_skill_has_a_name_and_texts_of_a_bounded_length(speaker):
    scene = Scene(speaker)
    for body in WRONG:
        refused(scene.ask("POST", "/skills", "ann", json=body), 422)
    assert scene.get("/skills")["skills"] == []


def test_listing_skills_takes_as_many_statements_for_one_as_for_many(speaker):
    scene, counts = Scene(speaker), []
    for _ in range(2):
        for _ in range(10):
            scene.post("/skills", "ann", name="many words")
        with scene.statements() as sent:
            scene.get("/skills", q="words")
        counts.append(len(sent))
    assert counts == [2, 2]
