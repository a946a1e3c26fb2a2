import pytest

from evolvent.hive.client import HubClient
from evolvent.hive.join import Member
from evolvent.hive.search_proposer import build_searcher
from evolvent.hive.terms import How, Limits
from hive.live import live_hub, make_slope


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folder = tmp_path_factory.mktemp("join")
    with live_hub(folder, make_slope(folder / "slope"), make_slope(folder / "less", "less", "minimize")) as (hub, url):
        hub.limits.rates.clear()
        yield hub, url


def join(url, folder, task="slope", kind="hill_climb", name=None, **more):
    with HubClient(url) as nobody:
        one = nobody.register(name)
    heard = []
    how = How(**{"seed": 1, "tell": lambda kind, facts: heard.append((kind, facts)), **more})
    client = HubClient(url, token=one["token"])
    return Member(client, one["id"], task, folder, build_searcher(kind), how), heard


def test_a_climber_finds_the_top_by_official_numbers_alone(served, tmp_path):
    _, url = served
    member, heard = join(url, tmp_path / "one", limits=Limits(evaluations=14))
    summary = member.run()
    for kind, facts in heard: print(kind, facts.get("run", {}).get("tldr"), facts.get("run", {}).get("verified_score"), facts.get("run", {}).get("is_kept"), facts)
    print(summary)
    assert 0
