"""Reads a page as a browser would, and says what on it could do harm or leave a reader out."""

import itertools
from html.parser import HTMLParser

VOID = {"meta", "link", "img", "input", "br", "hr", "path", "line", "circle", "rect"}
HIDDEN = set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c\u200b\u2060\ufeff\x00\x07\x1b")


class Reader(HTMLParser):
    """Elements with their attributes, the text, and the headings of a page."""

    def __init__(self, page):
        super().__init__(convert_charrefs=True)
        self.elements, self.text, self.open, self.unclosed = [], [], [], []
        self.page = page
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag in VOID:
            return
        if tag in self.open:
            while (last := self.open.pop()) != tag:
                if last not in ("p", "li"):
                    self.unclosed.append(last)

    def handle_data(self, data):
        self.text.append(data)

    @property
    def words(self):
        return " ".join(" ".join(self.text).split())

    def named(self, *tags):
        return [attrs for tag, attrs in self.elements if tag in tags]

    @property
    def levels(self):
        return [int(tag[1]) for tag, _ in self.elements if len(tag) == 2 and tag[0] == "h" and tag[1].isdigit()]


def dangers(page):
    """What a hostile text achieved on a page."""
    read, found = Reader(page), []
    for tag, attrs in read.elements:
        if tag in ("iframe", "object", "embed", "style", "base", "math", "foreignobject", "template"):
            found.append(f"<{tag}>")
        if tag == "script" and not (attrs.get("src") or "").startswith("/static/"):
            found.append(f"<script> {attrs}")
        if tag == "img" and not (attrs.get("src") or "").startswith("/static/"):
            found.append(f"<img> {attrs}")
        for name, value in attrs.items():
            if name.startswith("on") or name == "style" or (name.startswith("hx-") and tag not in ("form", "div")):
                found.append(f"{tag} {name}={value!r}")
            if name in ("href", "src", "action", "xlink:href") and not _leads_well(value or "", attrs):
                found.append(f"{tag} {name}={value!r}")
    found += [f"hidden U+{ord(char):04X}" for char in HIDDEN if char in page]
    return found


def _leads_well(where, attrs):
    if where.startswith(("https://", "http://")):
        return "noopener" in (attrs.get("rel") or "")
    return where.startswith(("/", "#", "?")) and not where.startswith(("//", "/\\"))


def gaps(page):
    """What a reader with a keyboard, a screen reader or a small screen would miss."""
    read, found = Reader(page), []
    if read.unclosed or read.open:
        found.append(f"not closed: {read.unclosed + read.open}")
    levels = read.levels
    if levels[:1] != [1] or levels.count(1) != 1:
        found.append(f"h1: {levels}")
    found += [f"h{a} then h{b}" for a, b in itertools.pairwise(levels) if b > a + 1]
    ids = [attrs["id"] for _, attrs in read.elements if "id" in attrs]
    found += [f"id twice: {one}" for one in set(ids) if ids.count(one) > 1]
    for tag, attrs in read.elements:
        for name in ("aria-labelledby", "for"):
            found += [f"{name}={one} names nothing" for one in (attrs.get(name) or "").split() if one not in ids]
        if tag == "a" and (attrs.get("href") or "").startswith("#") and attrs["href"][1:] not in ids:
            found.append(f"{attrs['href']} leads nowhere")
        if tag == "img" and "alt" not in attrs:
            found.append("img without alt")
        if tag == "svg" and "aria-label" not in attrs:
            found.append("svg without a name")
    for tag in ("header", "main", "footer", "nav"):
        if not read.named(tag):
            found.append(f"no {tag}")
    if read.named("html")[0].get("lang") != "en":
        found.append("no language")
    if read.named("a")[0].get("href") != "#main":
        found.append("the first link does not skip")
    return found
