import json
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evolvent.errors import BadInput
from evolvent.hive.hub import boards
from evolvent.hive.hub.refusals import Refused
from evolvent.hive.hub.runs import call_off
from evolvent.hive.hub.schema import tasks
from evolvent.hive.hub.scores import count_again, send_to_holdout
from hive.forge import TASK
from hive.hub.desk import NAME, Desk, report

COUNTED = ("num_official", "num_improvements", "best_sha", "best_value")


@pytest.fixture
def desk(any_hub, tmp_path):
    return Desk(any_hub, tmp_path)


def counters(desk):
    row = desk.row()
    return {name: row[name] for name in COUNTED}


def recounted(desk):
    with desk.hub.database.read() as connection:
        return count_again(connection, NAME)


def set_valid(desk, sha, is_valid):
    with desk.hub.database.write() as connection:
        call_off(desk.hub, connection, NAME, sha, is_valid, None)


def test_the_baseline_is_the_first_run_and_the_first_incumbent(desk):
    assert desk.row()["num_runs"] == 1 and desk.row()["best_sha"] is None
    assert desk.work(lambda *_: 0.5) == [("measure", desk.row()["base_sha"])]
    assert desk.row()["best_sha"] == desk.row()["base_sha"] and desk.row()["num_improvements"] == 1


def test_a_better_number_alone_keeps_nothing_fresh_seeds_decide(desk):
    worth = {"lucky": (0.9, 0.5), "good": (0.8, 0.8)}
    shas = {desk.enter("ann", name): name for name in worth}

    def value(sha, kind):
        return 0.5 if sha not in shas else worth[shas[sha]][kind == "compare"]

    kinds = [kind for kind, _ in desk.work(value)]
    assert kinds.count("compare") == 2, "both measured better than the baseline"
    kept = {shas[sha]: desk.run(sha)["is_kept"] for sha in shas}
    assert kept == {"lucky": False, "good": True}
    assert desk.row()["best_value"] == 0.8 and desk.row()["num_improvements"] == 2
    said = json.loads(desk.run(next(sha for sha in shas if shas[sha] == "lucky"))["comparison"])
    assert said["p"] > said["level"] and said["why"] and said["against"] == desk.row()["base_sha"]


def test_each_comparison_has_a_number_and_seeds_of_its_own(desk):
    shas = [desk.enter("ann", f"try {i}") for i in range(3)]
    worth = {sha: 0.6 + i / 10 for i, sha in enumerate(shas)}
    seen = {}
    while (order := desk.order()) is not None:
        if order["kind"] == "compare":
            number = json.loads(next(job for job in desk.jobs() if job["id"] == order["id"])["payload"])["number"]
            seen[number] = order["seeds"]
        values = [worth.get(order["commit"], 0.5), worth.get((order["incumbent"] or {}).get("commit"), 0.5)]
        desk.settle(
            order, [report(one, len(order["seeds"] or (1,))) for one in values][: 2 if order["incumbent"] else 1]
        )
    drawn = [seed for seeds in seen.values() for seed in seeds]
    assert seen and len(set(drawn)) == len(drawn) and not set(drawn) & set(desk.task.seeds)
    assert desk.row()["num_compared"] == max(seen)


def test_only_one_comparison_of_a_task_is_out_at_a_time_and_against_the_best_of_that_moment(desk):
    first, second = desk.enter("ann", "one"), desk.enter("bob", "two")
    desk.work(lambda sha, _: {first: 0.7, second: 0.9}.get(sha, 0.5), most=3)
    order = desk.order()
    assert order["kind"] == "compare" and desk.order() is None, "the second waits for the first"
    desk.settle(order, [report(0.9, len(order["seeds"])), report(0.5, len(order["seeds"]))])
    after = desk.order()
    if order["commit"] == second:
        assert after is None and desk.run(first)["is_kept"] is False, "0.7 is not better than 0.9 any more"
    else:
        assert after["incumbent"]["commit"] == first, "the second is compared with the first"


def test_an_invalid_run_has_no_number_and_a_reason(desk):
    sha = desk.enter("ann", "nan", score=0.99)
    desk.work(lambda one, _: "the predictions are not JSON" if one == sha else 0.5)
    run = desk.run(sha)
    assert (run["status"], run["value"], run["claim"]) == ("failed", None, 0.99) and "JSON" in run["why"]
    assert desk.row()["num_official"] == 1


@pytest.mark.parametrize(
    "said",
    [
        [],
        [report(0.5), report(0.5)],
        ["0.5"],
        [{"outcome": "scored", "by_seed": []}],
        [{"outcome": "scored", "by_seed": [[float("nan")]]}],
        [{"outcome": "scored", "by_seed": [[float("inf")]]}],
        [{"outcome": "scored", "by_seed": [[True]]}],
        [{"outcome": "scored", "by_seed": [["1.0"]]}],
        [{"outcome": "invalid", "by_seed": [[1.0]]}],
        [{"outcome": "fine", "by_seed": [[1.0]]}],
        [{"outcome": "scored", "by_seed": [[1.0]], "seconds": -1}],
    ],
)
def test_a_report_that_is_none_settles_nothing(hub, tmp_path, said):
    desk = Desk(hub, tmp_path)
    order = desk.order()
    with pytest.raises(BadInput):
        desk.settle(order, said)
    assert desk.run(order["commit"])["status"] == "running", "and the job can still be handed in"
    desk.settle(order, [report(0.5)])


def test_a_result_is_settled_once(desk):
    order = desk.order()
    desk.settle(order, [report(0.5)])
    with pytest.raises(Refused) as refused:
        desk.settle(order, [report(0.9)])
    assert refused.value.status == 409 and desk.row()["best_value"] == 0.5


def test_calling_off_the_best_restores_best_and_improvements_exactly(desk):
    desk.work(lambda *_: 0.5)
    before = counters(desk)
    sha = desk.enter("ann", "better")
    desk.work(lambda one, _: 0.9 if one == sha else 0.5)
    after = counters(desk)
    assert after["best_sha"] == sha
    set_valid(desk, sha, False)
    assert counters(desk) == before
    set_valid(desk, sha, True)
    assert counters(desk) == after


def test_a_comparison_whose_incumbent_was_called_off_meanwhile_is_made_again(desk):
    best = desk.enter("ann", "best")
    worth = {best: 0.7}
    desk.work(lambda sha, _: worth.get(sha, 0.5))
    other = desk.enter("bob", "other")
    worth[other] = 0.8
    desk.work(lambda sha, _: worth.get(sha, 0.5), most=1)
    order = desk.order()
    assert order["kind"] == "compare"
    against = order["incumbent"]["commit"]
    set_valid(desk, against, False)
    with pytest.raises(Refused, match="this lease is over"):
        desk.settle(order, [report(0.8, len(order["seeds"])), report(0.7, len(order["seeds"]))])
    assert desk.run(order["commit"])["comparison"] is None, "nothing is decided against a run that does not count"
    desk.work(lambda sha, _: worth.get(sha, 0.5))
    assert recounted(desk) == counters(desk)


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**20))
def test_counters_are_what_the_runs_say_whatever_happens(hub, tmp_path_factory, seed):
    from evolvent.hive.hub.answers import Answers
    from evolvent.hive.hub.schema import metadata

    with hub.database.write() as connection:
        for table in reversed(metadata.sorted_tables):
            connection.execute(table.delete())
    hub.answers = Answers()
    rng = random.Random(seed)
    desk = Desk(hub, tmp_path_factory.mktemp("counted"))
    worth, shas = {}, []
    for i in range(12):
        deed = rng.random()
        if deed < 0.5 or not shas:
            sha = desk.enter(rng.choice(("ann", "bob")), f"{seed} {i}")
            shas.append(sha)
            worth[sha] = rng.choice(("invalid", rng.random(), rng.random()))
        elif deed < 0.8:
            desk.work(lambda sha, _: worth.get(sha, 0.4), most=rng.randint(1, 4))
        else:
            set_valid(desk, rng.choice(shas), rng.random() < 0.5)
        assert counters(desk) == recounted(desk)
    desk.work(lambda sha, _: worth.get(sha, 0.4))
    assert counters(desk) == recounted(desk)
    numbers = {sha: value for sha, value in worth.items() if value != "invalid" and desk.run(sha)["is_valid"]}
    best = max([0.4, *numbers.values()])
    assert desk.row()["best_value"] == best, "what is exact is found out: the best that counts is the best"


def test_the_holdout_is_seen_by_the_best_few_once_and_calling_off_gives_no_look_back(any_hub, tmp_path):
    desk = Desk(any_hub, tmp_path, "ann")
    shas = [desk.enter("ann", f"try {i}") for i in range(8)]
    worth = {sha: 0.6 + i / 100 for i, sha in enumerate(shas)}
    desk.work(lambda sha, _: worth.get(sha, 0.5))

    def look():
        with desk.hub.database.write() as connection:
            return send_to_holdout(desk.hub, connection, NAME)

    seen = look()
    assert set(seen) == {*shas[-5:], desk.row()["base_sha"]}, "five looks, and the baseline"
    assert {job["kind"] for job in desk.jobs() if job["state"] == "waiting"} == {"holdout"}
    desk.work(lambda *_: 0.55)
    assert json.loads(desk.run(shas[-1])["holdout"])["value"] == 0.55
    set_valid(desk, shas[-1], False)
    assert look() == []


def test_a_hundred_tries_of_pure_noise_are_shown_near_what_they_are_and_none_is_kept(hub, tmp_path):
    desk = Desk(hub, tmp_path, "ann", toml=TASK.replace("evaluations = 10", "evaluations = 200"))
    rng = random.Random(3)

    def coins(num):
        return [float(rng.random() < 0.2) for _ in range(num)]

    def settle_all():
        while (order := desk.order()) is not None:
            if order["kind"] == "compare":
                desk.settle(order, [report(coins(len(order["seeds"]))) for _ in range(2)])
            else:
                cases = coins(60 if order["kind"] == "holdout" else 20)
                desk.settle(order, [{"outcome": "scored", "by_seed": [cases], "seconds": 0.1}])

    for i in range(100):
        desk.enter("ann", f"coin {i}")
    settle_all()
    assert desk.row()["num_improvements"] == 1, "the baseline, and no luck was kept"
    with hub.database.write() as connection:
        assert send_to_holdout(hub, connection, NAME)
    settle_all()
    with hub.database.read() as connection:
        top = boards.leaderboard(connection, NAME, "http://hub")[0]
    assert top["measured"]["value"] >= 0.45, "the luckiest of a hundred"
    assert abs(top["likely"]["value"] - 0.2) < 0.06, "is shown near what it is"
    assert abs(top["holdout"]["value"] - 0.2) < 0.1, "and measures near it where nobody chose it by"


def test_two_databases_say_the_same(any_hub, tmp_path):
    desk = Desk(any_hub, tmp_path)
    sha = desk.enter("ann", "one", parent=desk.row()["base_sha"][:10])
    desk.work(lambda one, _: 0.75 if one == sha else 0.5)
    with any_hub.database.read() as connection:
        found = boards.list_runs(connection, NAME, "http://hub")
        assert [run["verified_score"] for run in found] == [0.75, 0.5]
        assert boards.deltas(connection, NAME)[0]["delta"] == 0.25
        assert boards.contributors(connection, NAME)[0]["improvements"] == 1
        graph = boards.graph(connection, NAME)
        assert [node["parent"] for node in graph["nodes"]] == [desk.row()["base_sha"], None]
        assert connection.execute(tasks.select()).mappings().one()["num_agents"] == 1


def test_what_was_claimed_before_a_run_ends_once_it_is_measured(any_hub, tmp_path):
    from evolvent.hive.hub.claims import claim, list_claims

    desk = Desk(any_hub, tmp_path)
    with any_hub.database.write() as connection:
        for agent, words in (("ann", "a table"), ("bob", "a tree")):
            claim(connection, NAME, agent, words, 900)
    desk.enter("ann", "a table")
    with any_hub.database.write() as connection:
        claim(connection, NAME, "ann", "another table", 900)
    desk.work(lambda *_: 0.5)
    with any_hub.database.read() as connection:
        assert {one["content"] for one in list_claims(connection, NAME)} == {"a tree", "another table"}


def test_what_stands_sees_the_holdout_however_well_others_measured(hub, tmp_path):
    desk = Desk(hub, tmp_path, "ann")
    best = desk.enter("ann", "kept")
    desk.work(lambda sha, _: 0.7 if sha == best else 0.5)
    lucky = [desk.enter("ann", f"lucky {i}") for i in range(7)]
    worth = {sha: (0.8 + i / 100, 0.5) for i, sha in enumerate(lucky)} | {best: (0.7, 0.7)}
    desk.work(lambda sha, kind: worth.get(sha, (0.5, 0.5))[kind == "compare"])
    assert desk.row()["best_sha"] == best
    with hub.database.write() as connection:
        seen = send_to_holdout(hub, connection, NAME)
    assert set(seen) == {best, *lucky[-4:], desk.row()["base_sha"]}
