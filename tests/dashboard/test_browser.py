"""The pages in a real browser: headless Chromium, driven by playwright; skipped where one of them is missing."""

import shutil

import pytest

from dashboard.conftest import addresses
from dashboard.stand import BASELINE, Stand
from evolvent.hive.hub.feed import add_post
from evolvent.serve.door import background

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
sync_api = pytest.importorskip("playwright.sync_api")
FOCUSABLE = "a[href], button, input:not([type=hidden]), select, summary, [tabindex='0']"
WAIT_MS = 15_000
WATCH = """() => {
  window.reached = new Set();
  window.dim = [];
  document.addEventListener("focusin", ({target}) => {
    window.reached.add(target);
    if (getComputedStyle(target).outlineStyle === "none") window.dim.push(target.outerHTML);
  });
}"""
MISSED = f"""() => [...document.querySelectorAll({FOCUSABLE!r})]
  .filter((one) => !window.reached.has(one)).map((one) => one.outerHTML)"""


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as play:
        made = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield made
        made.close()


class Window:
    """A page in a context of its own, and everything that the browser complained about."""

    def __init__(self, browser, home, *, width=1280, scheme="light", **more):
        self.home, self.troubles = home, []
        self.context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, **more)
        self.page = self.context.new_page()
        self.page.on("console", lambda said: self.troubles.append(said.text) if said.type == "error" else None)
        self.page.on("pageerror", lambda error: self.troubles.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.troubles.append("a dialog opened"), dialog.dismiss()))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.context.close()

    def open(self, path):
        self.troubles.clear()
        self.page.goto(self.home + path, wait_until="load")
        return self.page

    @property
    def overflow(self):
        return self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")


@pytest.fixture(scope="module")
def home(peopled):
    with background(peopled.app) as url:
        yield url


@pytest.fixture(scope="module")
def spite(attacked):
    with background(attacked.app) as url:
        yield url


def look_at_every_page(browser, home, stand, width, scheme):
    with Window(browser, home, width=width, scheme=scheme) as window:
        for path in addresses(stand):
            window.open(path)
            wanted = [] if path != "/nowhere" else window.troubles[:1]  # the 404 itself
            assert window.troubles == wanted, f"{path} at {width} px in the {scheme}"
            assert window.overflow == 0, f"{path} is wider than {width} px"
            assert window.page.evaluate("window.pwned") is None, path


def test_every_page_fits_a_phone_and_complains_of_nothing(browser, home, peopled):
    look_at_every_page(browser, home, peopled, 390, "dark")


@pytest.mark.slow
@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (1280, "light"), (1280, "dark"), (320, "light")])
def test_every_page_fits_every_screen(browser, home, peopled, width, scheme):
    look_at_every_page(browser, home, peopled, width, scheme)


def test_nothing_hostile_runs_or_stretches_a_page(browser, spite, attacked):
    look_at_every_page(browser, spite, attacked, 390, "light")


def test_the_chart_is_drawn_follows_the_colours_and_leads_to_runs(browser, home):
    with Window(browser, home) as window:
        page = window.open("/tasks/packing")
        page.wait_for_selector(".plot canvas")
        assert page.locator(".plot svg").count() == 0, "the picture of the server has made room"
        light = page.evaluate("document.querySelector('.plot canvas').toDataURL()")
        page.emulate_media(color_scheme="dark")
        page.wait_for_function("light => document.querySelector('.plot canvas').toDataURL() !== light", arg=light)
        box = page.locator(".u-over").bounding_box()
        page.mouse.move(box["x"] + box["width"] - 30, box["y"] + 60)
        assert page.locator(".tip").inner_text().startswith("#"), "the run below the pointer is named"
        page.mouse.click(box["x"] + box["width"] - 30, box["y"] + 60)
        page.wait_for_url("**/runs/*")
        assert window.troubles == []


def test_what_happens_arrives_without_a_reload(browser, tmp_path):
    stand = Stand(tmp_path)
    stand.measure()
    with background(stand.app) as url, Window(browser, url) as window:
        page = window.open("/tasks/packing")
        page.wait_for_selector("[data-lamp][data-state=on]", timeout=WAIT_MS)
        page.evaluate("window.marker = 1")
        page.locator("#board .runlink").first.focus()
        before = page.locator(".plot").get_attribute("data-chart")
        stand.submit("ada", {"solve.py": BASELINE + "# better\n"}, 0.95, tldr="<b>sort first", parent=stand.base)
        stand.measure()
        page.wait_for_selector(".happening li:has-text('was kept')", timeout=WAIT_MS)
        page.wait_for_selector("#board tr.best:has-text('ada')", timeout=WAIT_MS)
        page.wait_for_function("old => document.querySelector('.plot').dataset.chart !== old", arg=before)
        page.wait_for_function("document.querySelectorAll('.plot canvas').length === 1")
        assert page.locator("#top .tiles").inner_text().count("since") == 1, "the tile of the best follows"
        assert page.evaluate("window.marker") == 1, "nothing was reloaded"
        focused = page.evaluate("document.activeElement.textContent")
        assert focused.startswith("#1 "), "whoever reads a row stays there, wherever it moves"
        assert page.locator(".happening li").first.evaluate("one => one.classList.contains('fresh')")
        numbers = page.eval_on_selector_all("[data-event]", "all => all.map(one => +one.dataset.event)")
        assert numbers == sorted(set(numbers), reverse=True), "each event once, the latest first"
        assert window.troubles == []
    stand.close()


def test_the_live_page_hears_of_every_task(browser, home, peopled):
    with Window(browser, home) as window:
        page = window.open("/live")
        page.wait_for_selector("[data-lamp][data-state=on]", timeout=WAIT_MS)
        peopled.act(add_post, "agent-2", "heard it live")
        page.wait_for_selector(".happening li.fresh:has-text('heard it live')", timeout=WAIT_MS)
        assert page.get_attribute("[role=log]", "aria-live") == "polite"
        assert window.troubles == []


def test_search_answers_while_one_types(browser, home):
    with Window(browser, home) as window:
        page = window.open("/search")
        page.locator("#q").press_sequentially("triplets", delay=5)
        page.wait_for_selector("#found >> text=Nothing was found", state="attached", timeout=WAIT_MS)
        page.locator("#q").fill("bins")
        page.wait_for_selector("#found li", timeout=WAIT_MS)
        assert page.evaluate("document.activeElement.id") == "q" and window.troubles == []


def test_without_a_script_everything_but_live_is_there(browser, home):
    with Window(browser, home, java_script_enabled=False) as window:
        page = window.open("/tasks/packing")
        assert page.locator("svg.progress circle").count() >= 4, "the chart as the server drew it"
        assert page.locator("#board tbody tr").count() > 5
        page.get_by_role("button", name="Dark").click()
        assert page.url.endswith("/tasks/packing") and page.locator("html").get_attribute("data-theme") == "dark"
        page.goto(home + "/search")
        page.locator("#q").fill("bins")
        page.get_by_role("button", name="Search").click()
        assert page.locator("#found li").count() >= 1


def test_the_keyboard_reaches_everything_and_shows_where_it_is(browser, home, peopled):
    with Window(browser, home) as window:
        for path in ("/tasks/packing", "/tasks/packing/graph", f"/tasks/packing/runs/{peopled.shas[2]}", "/search"):
            page = window.open(path)
            wanted = page.evaluate(f"document.querySelectorAll({FOCUSABLE!r}).length")
            page.evaluate(WATCH)
            for _ in range(wanted + 8):
                page.keyboard.press("Tab")
            assert page.evaluate(MISSED) == [], path
            assert page.evaluate("window.dim") == [], f"{path}: the focus can be seen"


def test_the_first_tab_skips_to_the_content(browser, home):
    with Window(browser, home) as window:
        page = window.open("/")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        assert page.locator(".skip").bounding_box()["y"] >= 0, "and can be seen"
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "main"
