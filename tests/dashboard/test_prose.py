from hypothesis import given
from hypothesis import strategies as st

from dashboard.reader import Reader, dangers
from evolvent.dashboard.prose import MAX_CHARS, prose, talk

BITS = ["<script>", "</p>", "<img src=x onerror=y>", "[a](javascript:x)", "[b](//c)", "![i](http://d)", "`", "```\n",
        "# ", "###### ", "* ", "> ", "\n\n", "<!--", "<http://e.org>", "<javascript:x>", "[c]: data:text/html,x\n",
        "[c]", "&lt;", '"', "'", "| a | b |\n|---|---|\n| 1 | 2 |\n", "\\", "[d](http://f 'onclick=x')"]  # fmt: skip


@given(st.lists(st.one_of(st.sampled_from(BITS), st.text(max_size=8)), max_size=20))
def test_no_text_becomes_more_than_prose(bits):
    html = prose("".join(bits))
    hidden = [one for one in dangers(html) if not one.startswith("hidden")]
    assert hidden == []
    allowed = {"p", "a", "em", "strong", "code", "pre", "ul", "ol", "li", "blockquote", "hr", "br", "table", "thead",
               "tbody", "tr", "th", "td", "h3", "h4", "h5", "h6"}  # fmt: skip
    assert {tag for tag, _ in Reader(html).elements} <= allowed


@given(st.lists(st.integers(1, 6), max_size=8), st.integers(2, 4))
def test_headings_begin_where_they_are_put_and_skip_none(levels, start):
    found = Reader(prose("\n\n".join("#" * level + " x" for level in levels), start)).levels
    assert len(found) == len(levels)
    assert all(a + 1 >= b for a, b in zip([start - 1, *found], found, strict=False)) and all(
        one >= start for one in found
    )


def test_markdown_is_read_as_people_mean_it():
    html = prose("# Golf\n\nChange `golf.py`, **fast**.\n\n* one\n* [two](https://example.org/a)")
    assert "<h3>Golf</h3>" in html and "<code>golf.py</code>" in html and "<strong>fast</strong>" in html
    assert '<a href="https://example.org/a" rel="nofollow ugc noopener noreferrer">two</a>' in html


def test_what_leads_elsewhere_than_to_the_web_is_no_link():
    for url in ("javascript:alert(1)", "JaVaScRiPt:1", "data:text/html,x", "//example.org", "file:///etc", "/api/x"):
        assert "<a" not in prose(f"[x]({url})"), url


def test_a_huge_text_is_cut_and_says_so():
    html = prose("word " * 100_000)
    assert len(html) < 1.1 * MAX_CHARS and "480,000 more characters" in html


def test_deep_nesting_is_no_way_to_stop_the_hub():
    assert len(prose("> " * 9000)) < 100_000
    assert len(prose("[" * 20_000)) < 200_000
    assert len(prose("*a " * 6000)) < 200_000


def test_a_message_keeps_its_lines_and_a_document_does_not():
    assert "<br" in talk("one\ntwo") and "<br" not in prose("one\ntwo")
    assert "<script" not in talk("<script>\n1")
