from xml.etree import ElementTree

import pytest

from evolvent.effects import Observation
from evolvent.effects.page import board_page, draw_contrast
from evolvent.effects.results import SeedResult, summarize


def entry(*gaps, kind="greater", claim="a claim", **more):
    one = [Observation(claim, kind, "accuracy", (g,) * 256, (0.0,) * 256, **more) for g in gaps]
    return summarize([SeedResult("toy", s, 1.0, 0.0, (o,)) for s, o in enumerate(one)]).as_entry()


@pytest.mark.parametrize(
    ("gaps", "more"),
    [((1.0, 2.0, 3.0), {}), ((0.0, 0.0, 0.0), {}), ((0.1, -0.2, 0.0), {"kind": "equal", "tolerance": 0.1})],
)
def test_a_plot_is_whole_and_holds_zero_every_seed_and_the_interval(gaps, more):
    [one] = entry(*gaps, **more)["contrasts"]
    drawing = ElementTree.fromstring(draw_contrast(one))
    classes = [part.get("class") for part in drawing.iter()]
    assert classes.count("seed") == 3 and classes.count("zero") == 1 and classes.count("whisker") == 1
    assert ("band" in classes) == (one["tolerance"] is not None)
    places = [float(part.get("cx")) for part in drawing.iter("circle")]
    assert all(0 <= x <= 620 for x in places)


def test_the_page_names_every_method_and_no_other_place():
    page = board_page({"toy": entry(1.0, 1.0, 1.0), "other": entry(-1.0, -1.0, -1.0, claim="a < b & c")}, {})
    assert page.count("<svg") == 2
    assert "shown" in page and "not shown" in page
    assert "a &lt; b &amp; c" in page
    assert "http" not in page and "<script" not in page
    assert page == board_page({"other": entry(-1.0, -1.0, -1.0, claim="a < b & c"), "toy": entry(1.0, 1.0, 1.0)}, {})


def test_an_empty_board_says_so():
    assert "Nothing has been measured yet" in board_page({}, {})
