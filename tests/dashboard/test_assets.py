import hashlib
import re

from evolvent.dashboard.assets import ASK_AGAIN, FOREVER, HOME, asset, fingerprint, serve_asset

VENDOR = HOME / "vendor"


def rows():
    text = (VENDOR / "VENDOR.md").read_text("utf-8")
    return [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in text.splitlines()[6:] if line]


def test_files_of_others_are_what_their_list_says():
    assert {row[0] for row in rows()} == {path.name for path in VENDOR.iterdir()} - {"VENDOR.md"}
    for name, package, version, licence, path, digest in rows():
        data = (VENDOR / name).read_bytes()
        assert hashlib.sha256(data).hexdigest() == digest, f"{name} was changed"
        assert package and re.fullmatch(r"\d+\.\d+\.\d+", version) and path, name
        assert licence.split(" ")[0] in ("MIT", "0BSD")
        if name.endswith(".js"):
            assert version.encode() in data[:20_000] or package == "htmx.org", f"{name} is of another version"


def test_every_file_of_others_comes_with_its_licence():
    for name, _, _, licence, *_ in rows():
        if not name.endswith(".LICENSE"):
            assert (VENDOR / re.search(r"`(.+)`?\)", licence).group(1).strip("`")).is_file()


def test_htmx_is_the_version_that_the_list_names():
    assert b"4.0.1" in (VENDOR / "htmx.min.js").read_bytes()


def test_nothing_served_asks_another_host():
    for path in HOME.rglob("*.*"):
        if path.suffix in (".css", ".js", ".svg"):
            text = path.read_text("utf-8")
            found = set(re.findall(r"(?:https?:)?//[a-z0-9.-]+\.[a-z]{2,}[^\s\"'`)]*", text)) - {
                "http://www.w3.org/2000/svg"
            }
            assert not {one for one in found if "github.com/leeoniya" not in one}, f"{path.name}: {found}"


def test_a_browser_keeps_a_file_until_it_changes():
    mark = fingerprint("site.css")
    assert asset("site.css") == f"/static/{mark}/site.css"
    assert serve_asset(mark, "site.css").headers["cache-control"] == FOREVER
    assert serve_asset("0" * 16, "site.css").headers["cache-control"] == ASK_AGAIN, "an old page still finds its file"


def test_only_files_that_are_there_are_served():
    for name in ("../pages.py", "vendor/VENDOR.md", "", "/etc/passwd", "vendor/../site.css", "site.css\0"):
        assert serve_asset("x", name) is None, name


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_words_and_drawings_can_be_told_from_their_ground():
    css = (HOME / "site.css").read_text("utf-8")
    schemes = [
        dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", block)) for block in re.findall(r"\{([^{}]*--paper:[^{}]*)\}", css)
    ]
    assert len(schemes) == 3 and schemes[1] == schemes[2], "dark is the same by system and by switch"
    for colours in schemes:
        for ground in ("paper", "card", "well"):
            for ink in ("ink", "soft", "accent", "bad", "good"):
                assert contrast(colours[ink], colours[ground]) >= 4.5, f"{ink} on {ground}: AA for words"
            for mark in ("mark", "edge", "held"):
                assert contrast(colours[mark], colours[ground]) >= 2.8, f"{mark} on {ground}"
        for ground in ("plus", "minus"):
            assert contrast(colours["ink"], colours[ground]) >= 4.5
            assert contrast(colours["soft"], colours[ground]) >= 4.5
        assert contrast(colours["accent"], colours["wash"]) >= 4.5
        assert contrast(colours["mark"], colours["card"]) >= 3, "AA for drawings"
