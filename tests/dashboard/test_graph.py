import re
from random import Random

import pytest

from dashboard.reader import Reader, dangers
from evolvent.dashboard.graph import HEIGHT, draw_lineage, lay_lineage


def node(number, parent, value, **more):
    made = {
        "sha": f"{number:040x}",
        "number": number,
        "parent": f"{parent:040x}" if parent else None,
        "agent_id": "ada",
    }
    made |= {"verified_score": value, "verified": value is not None, "valid": True, "is_kept": None, "tldr": "<b>x</b>"}
    made |= {
        "verification_status": "success" if value is not None else "failed",
        "created_at": f"2026-01-01T{number:06}",
    }
    return made | more


def forest(num, seed=1):
    rng = Random(seed)
    nodes = [node(1, None, 0.5, is_kept=True)]
    for number in range(2, num + 1):
        value = None if rng.random() < 0.1 else rng.gauss(0.5 + number / num, 0.1)
        nodes.append(node(number, rng.choice([None, *range(max(1, number - 20), number)]), value))
    best = max((one for one in nodes if one["verified"]), key=lambda one: one["verified_score"])
    return nodes, best["sha"]


@pytest.mark.parametrize("num", [1, 5, 500])
@pytest.mark.parametrize("by", ["time", "depth"])
def test_every_run_is_a_link_within_the_drawing(num, by):
    nodes, best = forest(num)
    lineage = lay_lineage(nodes, best=best, is_more_better=True, by=by)
    assert all(0 < place.x < lineage.width and 0 < place.y < HEIGHT for place in lineage.places.values())
    svg = draw_lineage(lineage, "golf", "bpb")
    links = Reader(svg).named("a")
    assert {link["href"] for link in links} == {f"/tasks/golf/runs/{one['sha']}" for one in nodes}
    assert all(re.match(r"run \d+ by ada: ", link["aria-label"]) for link in links)
    assert dangers(svg) == [] and "<b>" not in svg
    assert len(svg) < 600 * num + 4000, "a page of 500 runs stays light"


def test_the_way_to_the_best_runs_from_its_first_ancestor():
    nodes = [node(1, None, 0.1), node(2, 1, 0.2), node(3, 1, 0.9), node(4, 2, 0.3), node(5, 4, 0.8)]
    lineage = lay_lineage(nodes, best=nodes[4]["sha"], is_more_better=True)
    assert [int(sha, 16) for sha in lineage.path] == [1, 2, 4, 5]
    svg = draw_lineage(lineage, "golf", "bpb")
    assert svg.count('circle class="best"') == 4 and svg.count("edge best") == 1


def test_better_lies_higher_where_less_is_better_too():
    # the axis shows the metric as it is: a lower value lies lower, and its ticks say so
    lineage = lay_lineage([node(1, None, 3.0), node(2, 1, 2.0)], best=None, is_more_better=False)
    first, second = (lineage.places[f"{number:040x}"] for number in (1, 2))
    assert first.y < second.y and first.x < second.x


def test_runs_of_a_depth_share_a_column_and_children_lie_to_the_right():
    nodes, best = forest(60)
    lineage = lay_lineage(nodes, best=best, is_more_better=True, by="depth")
    for one in nodes:
        if one["parent"]:
            assert lineage.places[one["parent"]].x < lineage.places[one["sha"]].x


def test_runs_without_a_number_lie_in_a_lane_of_their_own():
    nodes = [node(1, None, 0.5), node(2, 1, None), node(3, 1, None, verification_status="pending")]
    lineage = lay_lineage(nodes, best=nodes[0]["sha"], is_more_better=True)
    lane = {lineage.places[one["sha"]].y for one in nodes[1:]}
    assert len(lane) == 1 and lane.pop() > lineage.places[nodes[0]["sha"]].y
    svg = draw_lineage(lineage, "golf", "bpb")
    assert 'class="bad"' in svg and 'class="wait"' in svg


def test_labels_do_not_lie_on_each_other():
    nodes, _ = forest(400)
    chain = [node(n, n - 1 or None, n / 400) for n in range(1, 401)]
    for drawn in (nodes, chain):
        svg = draw_lineage(lay_lineage(drawn, best=drawn[-1]["sha"], is_more_better=True), "golf", "bpb")
        spots = [(float(x), float(y)) for x, y in re.findall(r'class="name"[^>]* x="([\d.]+)" y="([\d.]+)"', svg)]
        for place, (x, y) in enumerate(spots):
            assert all(abs(x - a) > 29 or abs(y - b) >= 11 for a, b in spots[:place])


def test_nothing_is_drawn_of_nothing():
    assert draw_lineage(lay_lineage([], best=None, is_more_better=True), "golf", "bpb") == ""
