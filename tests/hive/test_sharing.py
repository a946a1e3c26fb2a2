import json

import pytest

from evolvent.codec import encode
from evolvent.hive import sharing
from evolvent.hive.agents.client import HubClient
from evolvent.hive.agents.join import Member
from evolvent.hive.agents.search_proposer import SearchProposer
from evolvent.hive.agents.terms import How
from evolvent.hive.sealed import Bench
from evolvent.hive.sharing import AGENTS, APART, HIDDEN, SHARED, race
from evolvent.hive.task_folder import Shelf
from evolvent.hive.tricks import draw_landscape
from hive.live import live_hub

SEED = 100


def test_a_pair_harms_by_halves_and_all_tricks_together_are_the_top():
    landscape = draw_landscape(SEED, 0)
    start = dict.fromkeys((one.name for one in landscape.space.params), False)
    one, other = landscape.pairs[0]
    assert landscape.worth(start) == 0
    assert landscape.worth({**start, one: True}) < 0
    assert landscape.worth({**start, one: True, other: True}) > 0
    assert all(landscape.worth({**start, name: True}) > 0 for name, _ in landscape.plain)
    assert landscape.is_top(landscape.worth(dict.fromkeys(start, True)))
    assert not landscape.is_top(landscape.worth({**dict.fromkeys(start, True), one: False, other: False}))
    assert draw_landscape(SEED, 1) != landscape


def test_the_task_gives_the_numbers_of_the_landscape(tmp_path):
    landscape = draw_landscape(SEED, 3)
    task, bench = landscape.as_task(), Bench(Shelf(tmp_path))
    digest = bench.shelf.put(task)
    names = [one.name for one in landscape.space.params]
    for is_on in (lambda i: False, lambda i: True, lambda i: i % 3 > 0):
        point = {name: is_on(i) for i, name in enumerate(names)}
        result = bench.measure_files(digest, {"params.json": json.dumps(point).encode()})
        assert result.value == pytest.approx(landscape.worth(point))
    assert bench.measure_files(digest, {"params.json": b'{"trick_00": 99}'}).value is None
    hidden = {name for name, data in task.below("public").items() if landscape.pairs[0][0].encode() in data}
    assert hidden <= {"params.json", "space.json"}


def test_agents_that_read_each_other_are_done_first_and_hidden_context_is_no_context():
    landscape = draw_landscape(SEED, 1)
    shared, hidden, apart = (race(landscape, SEED, arm) for arm in (SHARED, HIDDEN, APART))
    assert shared.is_won
    assert hidden.is_won
    assert shared.num_evaluations < apart.num_evaluations
    assert [(one.agent, one.point) for one in hidden.tried] == [(one.agent, one.point) for one in apart.tried]


def test_the_same_seed_plays_the_same_race_and_a_cap_ends_it():
    landscape = draw_landscape(SEED, 2)
    assert race(landscape, SEED, SHARED) == race(landscape, SEED, SHARED)
    cut = race(landscape, SEED, SHARED, cap=9)
    assert (cut.num_evaluations, cut.is_won) == (9, False)
    assert cut.tried == race(landscape, SEED, SHARED).tried[:9]


def test_an_effect_has_three_claims_over_paired_landscapes(monkeypatch):
    monkeypatch.setattr(sharing, "NUM_LANDSCAPES", 3)
    less, more, same = sharing.effect(SEED)
    assert [one.kind for one in (less, more, same)] == ["less", "greater", "equal"]
    assert less.treated == more.control
    assert same.treated == same.control == less.control
    assert more.treated != same.treated, "the second claim has chance of its own"
    assert len(less.treated) == 3


def test_results_are_kept_apart_by_the_code_that_made_them():
    setting = sharing.build()
    assert encode(setting) == encode(sharing.build())
    assert len(setting.code) == 16


@pytest.mark.slow
@pytest.mark.parametrize("arm", [SHARED, HIDDEN])
def test_a_hub_with_git_queue_and_sandbox_plays_the_same_race(arm, tmp_path):
    landscape, seed, num_turns = draw_landscape(SEED, 0), 7, 16
    with live_hub(tmp_path, landscape.as_task()) as (hub, url):
        hub.limits.rates.clear()
        members = [
            make_member(url, tmp_path, name, make, How(seed=seed, is_alone=arm == HIDDEN)) for name, make in AGENTS
        ]
        for turn in range(num_turns):
            assert members[turn % len(members)].step()
        with HubClient(url) as nobody:
            runs = list(nobody.runs("tricks", view="all", sort="recent:asc"))[1:]
    played = race(landscape, seed, arm, cap=num_turns).tried
    assert [run["agent_id"] for run in runs] == [one.agent for one in played]
    assert [run["verified_score"] for run in runs] == pytest.approx([one.worth for one in played])
    numbers = {run["id"]: run["number"] for run in runs}
    assert [numbers.get(run["parent_id"], 1) for run in runs] == [number_of(one.parent) for one in played]


def make_member(url, folder, name, make, how):
    with HubClient(url) as nobody:
        key = nobody.register(name)
    return Member(HubClient(url, token=key["token"]), name, "tricks", folder / name, SearchProposer(make), how)


def number_of(parent):
    return 1 if parent == sharing.BASELINE else int(parent.removeprefix("run "))
