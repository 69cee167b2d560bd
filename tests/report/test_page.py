"""`sakbench report`: the page says what the store holds, none of which can run; in a browser it sorts and compares."""

import base64
import hashlib
import json
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from statistics import fmean

import pytest
from matplotlib.figure import Figure

from sakbench.errors import UserError
from sakbench.report.page import page, pictures
from sakbench.store import open_store
from sakbench.tasks.names import TASKS
from tests.conftest import ROOT

RESULTS = ROOT / "results" / "mini.jsonl"
MINI = {"scale": "mini", "dataset": "miniworld-pascal"}
TABLE = '</script ><!--<script ><img src="https://example.org/x" onerror="alert(1)">'
ROW = "<script>alert(1)</script> $\\frac \"' onload=alert(1)"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """The shipped results, Table 20, and a table of somebody's own in which everything is named to do harm."""
    made = open_store(tmp_path_factory.mktemp("page") / "store.db", write=True)
    records, rows = open_store(RESULTS, write=False).complete()
    made.merge(records, rows)
    by_id = {record.id: record for record in records}

    def copy(source: tuple[str, str], table: str, row: str, position: int, **changes: object) -> None:
        """Two seeds of a row, as a row of another table with runs of its own."""
        for entry in rows:
            if (entry.table, entry.row) == source and entry.seed < 2:
                new = {
                    run: hashlib.sha256(f"{table}{row}{run}".encode()).hexdigest()[:12] for run in entry.runs.values()
                }
                for run, name in new.items():
                    made.add(replace(by_id[run], id=name, checkpoint=None, artifacts=(), **changes))
                runs = {task: new[run] for task, run in entry.runs.items()}
                about = {"position": position, "seed": entry.seed, "baseline": entry.baseline}
                made.record_row(table, row, runs=runs, **about, **MINI)

    harm = {"label": ROW, "git_commit": TABLE, "versions": {ROW: TABLE}, "notes": {ROW: TABLE, "gates": ROW}}
    copy(("table12", "ViT Freeze"), TABLE, "ViT Freeze", 0, **harm)
    copy(("table12", "CLIP Freeze"), TABLE, f"{ROW} Freeze", 1, **harm, spec={"start": {"</script>": TABLE}})
    copy(("table7", "Single-task baseline"), "table20", "Single-task baseline", 0)
    copy(("table7", "DINOv2+CLIP"), "table20", "γ = 0.5", 1)
    copy(("table7", "DINOv2+CLIP+SAM"), "table20", "γ = 1.0", 2)
    return made


@pytest.fixture(scope="module")
def text(store):
    """The page, without the sizes of the models, which take long to count."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page, "sizes", lambda store, runs: {})
        return page.build(store)


class Reader(HTMLParser):
    """A page's elements with their attributes, what stands in each style and script, and the words outside."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.raw: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag in self.CDATA_CONTENT_ELEMENTS:
            self.raw.append("")

    def handle_data(self, data):
        if self.cdata_elem:
            self.raw[-1] += data
        else:
            self.words.append(data)


class Cells(HTMLParser):
    """The provenance and the text of every measured number that stands in a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[int, str]] = []
        self.index: str | None = None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        if tag == "button" and "data-number" in dict(attrs):
            self.index = dict(attrs)["data-number"]
        elif tag == "span":
            self.index = None

    def handle_data(self, data):
        if self.index is not None:
            self.found.append((int(self.index), data.replace("−", "-")))
            self.index = None


# What is in the file


def test_nothing_of_a_store_becomes_markup(text):
    read = Reader(text)
    assert [name for name, _ in read.elements if name in Reader.CDATA_CONTENT_ELEMENTS] == ["style", "script", "script"]
    assert not {name for name, _ in read.elements} & {
        "img",
        "image",
        "iframe",
        "object",
        "embed",
        "link",
        "base",
        "form",
    }
    for name, attributes in read.elements:
        assert not [key for key in attributes if key.startswith("on") or key in ("style", "src", "action")], name
        assert attributes.get("href", "#").startswith("#")
    words = "".join(read.words)
    assert TABLE in words and ROW in words
    data = json.loads(read.raw[1])
    assert ROW in data["colours"]
    said = [fact for facts in data["runs"].values() for _, fact in facts]
    assert any(ROW in fact for fact in said) and any(TABLE in fact for fact in said)


def test_only_its_own_style_and_script_are_allowed(text):
    read = Reader(text)
    policy = next(a["content"] for _, a in read.elements if a.get("http-equiv") == "Content-Security-Policy")
    style, _, script = (base64.b64encode(hashlib.sha256(raw.encode()).digest()).decode() for raw in read.raw)
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    assert (rules["style-src"], rules["script-src"]) == (f"'sha256-{style}'", f"'sha256-{script}'")


def test_every_number_follows_from_its_provenance(text, store):
    data = json.loads(Reader(text).raw[1])
    stored = {(line["run"], round(line["value"], 9)) for line in store.frame().to_dict("records")}
    numbers, checked = data["numbers"], 0

    def mean(index):
        return fmean(value for _, value, _ in numbers[index]["seeds"])

    for index, shown in Cells(text).found:
        number = numbers[index]
        if "seeds" in number:
            assert all((run, round(value, 9)) in stored and run in data["runs"] for _, value, run in number["seeds"])
            digits = {"RMSE m": 4, "cosine": 4, "of RMS norm": 3}.get(number["metric"], 2)
            assert shown == f"{mean(index):.{digits}f}"
        elif number["title"].startswith("Δm"):
            own, base = ({numbers[i]["title"].split(" · ")[-1]: mean(i) for i in part} for part in halves(number["of"]))
            sign = {task: 1 if TASKS[task].higher_is_better else -1 for task in base}
            gain = fmean(100 * sign[task] * (own[task] - base[task]) / base[task] for task in base)
            assert shown == f"{gain:+z.2f}"
        checked += 1
    assert checked > 300


def halves(of):
    return of[: len(of) // 2], of[len(of) // 2 :]


def test_published_numbers_stand_below_with_their_place(text):
    words = " ".join("".join(Reader(text).words).split())
    assert "17.09 ±0.19paper 65.26" in words
    assert "paper: SAK (ICLR 2025), Table 7; Single-task baseline: SAK (ICLR 2025), Table 12." in words


def test_figures_are_drawn_from_the_store(text):
    labels = [attributes["aria-label"] for name, attributes in Reader(text).elements if attributes.get("role") == "img"]
    # the curves are those of Tables 18 and 20, the gates of both data sets
    assert [label.split()[0] for label in labels] == ["Bias", "Table", "Table", "Gates", "Gates"]


def test_a_figure_keeps_its_shapes_and_nothing_else():
    figure = Figure(figsize=(1, 1))
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="#ff0000", clip_on=True)
    axes.set_title("a", url="https://example.org/")
    axes.imshow([[0, 1]])
    clean = pictures.inline(figure, "mine", '"<b>')
    read = Reader(clean)
    assert {name for name, _ in read.elements} <= {"svg", "g", "defs", "path", "use", "clippath", "rect"}
    assert "http" not in clean and "style" not in clean and "<b>" not in clean
    assert any(attributes.get("stroke") == "#ff0000" for _, attributes in read.elements)
    ids = {attributes["id"] for _, attributes in read.elements if "id" in attributes}
    uses = {attributes["href"][1:] for _, attributes in read.elements if "href" in attributes}
    clips = {attributes["clip-path"][5:-1] for _, attributes in read.elements if "clip-path" in attributes}
    assert uses and clips and uses | clips <= ids
    assert all(one.startswith("mine-") for one in ids)


# The command


def test_the_command_writes_a_page_and_says_so(sakbench, tmp_path):
    lines = [json.loads(line) for line in RESULTS.read_text(encoding="utf-8").splitlines()]
    row = next(line for line in lines if line["type"] == "row" and line["row"] == "CLIP Freeze")
    kept = [line for line in lines if line["type"] == "schema" or line is row or line.get("id") in row["runs"].values()]
    (tmp_path / "one.jsonl").write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
    done = sakbench("report", "--store", "one.jsonl")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("report.html: ") and "Traceback" not in done.stderr
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert {path.name for path in tmp_path.iterdir()} == {"one.jsonl", "report.html"}
    sizes = [
        shown
        for index, shown in Cells(text).found
        if "size" in json.loads(Reader(text).raw[1])["numbers"][index]["title"]
    ]
    assert sizes == ["2.44", "0.30"]  # millions of parameters, and MACs


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--store", "empty.jsonl"], ["empty.jsonl", "holds no complete row of a table", "sakbench run table7"]),
        (["--store", "none.db"], ["there is no store at none.db"]),
        (["--store", str(RESULTS), "--output", "results.db"], ["results.db", "ends in .html"]),
    ],
)
def test_what_cannot_be_reported_gets_a_sentence(sakbench, tmp_path, arguments, words):
    (tmp_path / "empty.jsonl").write_text('{"type": "schema", "version": 2}\n')
    done = sakbench("report", *arguments)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert done.stderr.startswith("sakbench: ") and done.stderr.count("\n") == 1
    assert all(word in done.stderr for word in words)
    assert {path.name for path in tmp_path.iterdir()} == {"empty.jsonl"}


def test_a_scale_that_nobody_knows_is_named(tmp_path):
    made = open_store(tmp_path / "store.db", write=True)
    record = open_store(RESULTS, write=False).complete()[0][0]
    made.add(record)
    place = {"position": 0, "scale": "huge", "dataset": "miniworld-pascal", "seed": 0}
    made.record_row("table7", "SAM", runs={record.metrics[0].task: record.id}, **place)
    with pytest.raises(UserError, match="huge"):
        page.build(made)


# In a browser


@pytest.fixture(scope="module")
def browser(text, tmp_path_factory):
    """Chromium, without a window, showing the page."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):
        pytest.skip("Chromium is not installed: `apt-get install chromium chromium-driver` brings it")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    file = tmp_path_factory.mktemp("browser") / "report.html"
    file.write_text(text, encoding="utf-8")
    with webdriver.Chrome(options=options, service=webdriver.ChromeService(driver)) as shown:
        shown.get(file.as_uri())
        yield shown


def resize(browser, width: int) -> None:
    about = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", about)


def find(browser, selector: str):
    return browser.find_elements("css selector", selector)


def click(browser, element) -> None:
    """Where the page's own bar at the top does not cover it."""
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
    element.click()


def column(browser, place: int) -> list[float]:
    """The values of a column of the leaderboard, from the top, of the lines that are shown; NaN where there is none."""
    script = "return [...document.querySelectorAll('#leaderboard tbody tr:not([hidden])')]"
    script += f".map((row) => row.cells[{place}].dataset.value ?? 'nan')"
    return [float(value) for value in browser.execute_script(script)]


def test_a_click_sorts_and_another_turns_around(browser):
    head = next(head for head in find(browser, "#leaderboard thead th") if head.text.startswith("semseg"))
    place = head.get_property("cellIndex")
    button = head.find_element("css selector", "button")
    click(browser, button)
    best_first = [value for value in column(browser, place) if value == value]
    assert head.get_attribute("aria-sort") == "descending"
    assert best_first == sorted(best_first, reverse=True) and len(set(best_first)) > 20
    button.send_keys("\ue007")  # Enter
    assert head.get_attribute("aria-sort") == "ascending"
    assert [value for value in column(browser, place) if value == value] == best_first[::-1]
    others = {other.get_attribute("aria-sort") for other in find(browser, "#leaderboard thead th") if other != head}
    assert others == {"none"}


def test_filters_leave_what_fits_and_mark_its_best(browser):
    lines = len(find(browser, "#leaderboard tbody tr"))
    find(browser, "#filters select[name=source] option[value=measured]")[0].click()
    find(browser, "#filters input")[0].send_keys("freeze")
    shown = [row for row in find(browser, "#leaderboard tbody tr") if row.is_displayed()]
    assert 5 <= len(shown) < lines
    assert all("Freeze" in row.text and "measured" in row.text for row in shown)
    assert find(browser, "#filters output")[0].text == f"{len(shown)} of {lines} lines"
    head = next(head for head in find(browser, "#leaderboard thead th") if head.text.startswith("boundary"))
    place = head.get_property("cellIndex")
    best = [row for row in shown if "best" in row.find_elements("css selector", "th, td")[place].get_attribute("class")]
    assert [row.find_element("css selector", "th").text for row in best] == ["SAM"]
    find(browser, "#filters input")[0].clear()
    find(browser, "#filters select[name=source] option")[0].click()


def test_a_model_that_is_ticked_gets_bars(browser):
    tasks = 5

    def bars():
        return [len(part.find_elements("css selector", "rect.bar[x]")) for part in find(browser, ".profile")]

    measured, published = bars()
    assert measured and measured % tasks == 0
    box = next(box for box in find(browser, "#models input") if box.get_attribute("value") == ROW)
    assert not box.is_selected()
    click(browser, box)
    assert bars() == [measured + tasks, published]
    assert ROW in find(browser, ".profile")[0].text
    for other in find(browser, "#models input"):
        if other.is_selected():
            other.click()
    assert sum(bars()) == 0
    assert "None of the models" in find(browser, "#charts")[0].text
    for other in find(browser, "#models input")[:4]:
        other.click()
    assert bars() == [measured, published]


def test_a_number_opens_where_it_comes_from(browser, store):
    row = next(row for row in find(browser, "#tables tbody tr") if row.text.startswith("CLIP Freeze"))
    button = row.find_element("css selector", "td button")
    click(browser, button)
    dialog = find(browser, "dialog")[0]
    assert dialog.is_displayed() and dialog.find_element("css selector", "h2").text == "CLIP Freeze · semseg"
    frame = store.frame().query("table == 'table12' and row == 'CLIP Freeze' and task == 'semseg'")
    runs = dialog.find_elements("css selector", "button[data-open]")
    assert {run.text for run in runs} == set(frame["run"]) and len(runs) == 3
    runs[0].click()
    told = dialog.find_element("css selector", "details[open]").text
    record = store.lookup(runs[0].text)
    for fact in (record.id, record.git_commit, record.versions["torch"], record.machine["cpu"], "sakbench repeat"):
        assert fact in told
    browser.switch_to.active_element.send_keys("\ue00c")  # Escape
    assert not dialog.is_displayed()


@pytest.mark.parametrize("width", [400, 1400])
def test_only_tables_scroll_sideways(browser, width):
    resize(browser, width)
    scrolled, shown = browser.execute_script(
        "const page = document.documentElement; return [page.scrollWidth, page.clientWidth]"
    )
    assert width - 20 < shown <= width and scrolled == shown
    chart = find(browser, ".profile svg[role=img]")[0]
    assert 0.5 * min(width, 700) < chart.size["width"] < width


def test_it_asks_for_nothing_and_complains_of_nothing(browser):
    """After all that was done to it above, and once more from the start."""
    browser.refresh()
    click(browser, find(browser, "#leaderboard td button")[0])
    assert browser.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = {e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"}
    assert asked == {browser.current_url}
