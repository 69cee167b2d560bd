"""Whatever is typed or handed over, the answer is a result or a sentence: drawn command lines, specs and exports."""

import argparse
import contextlib
import io
import json
import re
import shlex
import signal
import tempfile
import warnings
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sakbench.cli import _parser, main
from sakbench.errors import UserError
from sakbench.experiments import tables
from sakbench.experiments.rows import multi_task, sak, scored
from sakbench.runs.costs import Cost
from sakbench.runs.scales import MINI
from sakbench.runs.spec import RunSpec
from sakbench.store import open_store
from sakbench.tasks import NAMES
from tests.conftest import ROOT

drawn = settings(derandomize=True, deadline=None)
SECRET = "hunter2-and-more"
SECONDS = 120  # far more than a line takes that begins no work: one that takes them would never end

# Where the work of a command begins, which no test shall do: training, rendering, counting, downloads.
WORK = [
    "sakbench.bench.measure.measure",
    "sakbench.report.bench.measure",
    "sakbench.report.bench.loading",
    "sakbench.training.pretrain.run.load_split",
    "sakbench.training.prediction.predict",
    "sakbench.report.running.run_experiment",
    *(["ray.init"] if find_spec("ray") else []),
    "sakbench.experiments.accounts._table",
    "multiprocessing.process.BaseProcess.start",
    "concurrent.futures.process.ProcessPoolExecutor.submit",
    "socket.getaddrinfo",
]


class Began(BaseException):
    """A command line was in order, and its work would have begun."""


class Endless(BaseException):
    """A command line did not come to an end."""


def export(*, runs: int) -> list[str]:
    """The first lines of the export that comes with sakbench: so many runs that fill a row each, then the rows."""
    lines = (ROOT / "results" / "mini.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [line for line in lines if (row := json.loads(line))["type"] == "row" and len({*row["runs"].values()}) == 1]
    ids = [next(iter(json.loads(row)["runs"].values())) for row in rows[:runs]]
    wanted = [line for line in lines if json.loads(line).get("id") in ids]
    return [lines[0], *wanted, *rows[:runs]]


EXPORT = export(runs=2)
RUN = json.loads(EXPORT[1])["id"]

# Command lines


def commands(parser, words=()):
    """Every command of the program with its parser, found in the parser itself."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, inner in action.choices.items():
                yield from commands(inner, (*words, name))
            return
    yield words, parser


COMMANDS = dict(commands(_parser()))
URLS = [
    f"postgresql://user:{SECRET}@127.0.0.1:1/runs",
    f"postgresql+psycopg://user:{SECRET}@127.0.0.1:1/runs",
    f"mysql://user:{SECRET}@127.0.0.1:1/runs",
    f"https://user:{SECRET}@127.0.0.1:1/runs.db",
    f"ray://user:{SECRET}@127.0.0.1:1",
]
RIGHT = {  # what may be right for an argument that its help shows as such
    "TABLE": [*tables.EXPERIMENTS, "table7-invpt", "19"],
    "RUN": [RUN, RUN[:6]] * 4,
    "NAME": [MINI.vit, "timm/vit_tiny_patch16_224", "pascal-context", "nyud-v2", "paper", "invpt"],
    "NAME=FILE": [f"{MINI.vit}=file.safetensors"],
    "BACKBONE": [MINI.vit, *MINI.teachers.values()],
    "FILE": ["stored.jsonl", "stored.jsonl", "new.db", "new.jsonl", "new.csv", "file.safetensors"],
    "PLACE": ["stored.jsonl", "new.db", URLS[0]],
    "DIR": ["folder", "new", "."],
    "IMAGE": ["picture.png", "folder"],
    "CHECKPOINT": ["folder", "file.safetensors"],
    "TASK": [*NAMES],
    "N": ["1", "2", "8"],
    "HxW": ["64", "64x64", "448x576"],
}
NO_NUMBERS = ["", " ", "-1", "-0.5", "0", "nan", "inf", "1e999", "9" * 30, "9" * 5000, "²", "٣", "0x0", "3,,4", "x"]
NO_NAMES = ["-", "--", "=", "a=", "=a", "%s%(x)d", "{}", "[/red]", "[bold", "'; DROP TABLE runs; --", "--sede", "--x=y"]
NO_TEXT = ["line\nbreak", "\r\x1b[2J\x07\x7f", "\udcff", "né.db", "🦙", "\u202eelbat", "a" * 300, "b" * 5000]
NO_FILES = ["c" * 300 + ".db", "d" * 300 + ".jsonl", "file.safetensors/inside", "nowhere/at/all.db", "folder.db"]
WRONG = [*NO_NUMBERS, *NO_NAMES, *NO_TEXT, *NO_FILES, "folder.jsonl", "empty.db", "empty.jsonl"]


@st.composite
def near(draw, word):
    """A word with one letter too few, too many, or twice."""
    place = draw(st.integers(0, max(0, len(word) - 1)))
    return draw(st.sampled_from([word[:place] + word[place + 1 :], f"{word[:place]}x{word[place:]}", word * 2]))


@st.composite
def values(draw, action):
    """What may stand for one argument: mostly what its help names."""
    kind = draw(st.sampled_from([*["right"] * 6, "near", "wrong", "url", "text"]))
    if kind == "text":
        return draw(st.text(st.characters(exclude_characters="\0./~", exclude_categories=["Cs"]), max_size=20))
    if kind in ("url", "wrong"):
        return draw(st.sampled_from(URLS if kind == "url" else WRONG))
    right = [word for name in re.findall(r"[\w=]+", action.metavar or "") for word in RIGHT.get(name, [])]
    right += [*(action.choices or ()), *re.findall(r"\w[\w.-]+(?= \(default\)|[:;,])", action.help or "")]
    word = draw(st.sampled_from(right or [word for words in RIGHT.values() for word in words]))
    return draw(near(word)) if kind == "near" else word


@st.composite
def lines(draw, words, parser):
    """A command's arguments: some of its options, some of them again, and about as many words as it takes."""
    # At the beginning, where nothing that follows can take it for a value.
    line = [*words, *(["--dry-run"] if "--dry-run" in parser._option_string_actions else [])]
    if "--store" in parser._option_string_actions and draw(st.booleans()):
        line += ["--store", "stored.jsonl"]
    options = [a for a in parser._actions if a.option_strings and not isinstance(a, argparse._HelpAction)]
    chosen = draw(st.lists(st.sampled_from(options), max_size=3) if options else st.just([]))
    chosen += [action for action in options if action.required and draw(st.sampled_from([True, True, True, False]))]
    parts = []
    for action in chosen:
        name = draw(st.sampled_from(action.option_strings))
        name = draw(near(name)) if draw(st.integers(0, 19)) == 0 else name
        value = draw(values(action))
        forms = [[name]] if action.nargs == 0 else [[name, value], [name, value], [f"{name}={value}"], [name]]
        parts.append(draw(st.sampled_from(forms)))
    for action in parser._actions:
        if not action.option_strings:
            parts += [[draw(values(action))] for _ in range(draw(st.sampled_from([1, 1, 1, 1, 0, 2])))]
    return line + [word for part in draw(st.permutations(parts)) for word in part]


def furnish(folder: Path) -> None:
    """A user's folder: an export, files and folders of the right and the wrong kind."""
    (folder / "stored.jsonl").write_text("".join(f"{line}\n" for line in EXPORT), encoding="utf-8")
    for name in ("folder", "folder.db", "folder.jsonl"):
        (folder / name).mkdir()
    for name in ("empty.db", "empty.jsonl", "file.safetensors"):
        (folder / name).touch()
    for name in ("picture.png", "folder/picture.png"):
        Image.new("L", (8, 8)).save(folder / name)


def content(folder: Path) -> dict[str, bytes | None]:
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def call(line: list[str]) -> tuple[int | None, str, str, bool]:
    """Exit code (None if its work would have begun), both outputs and whether the folder stayed as it was."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
    with tempfile.TemporaryDirectory() as name, contextlib.chdir(name), pytest.MonkeyPatch.context() as patch:
        patch.setattr(warnings, "formatwarning", warnings.formatwarning)  # which the program sets for its process
        folder = Path(name)
        furnish(folder)
        before = content(folder)
        code = None
        signal.setitimer(signal.ITIMER_REAL, SECONDS)
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                main(line)
        except SystemExit as end:
            code = end.code
        except Began:
            pass
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        kept = content(folder) == before
    for stream in (out, err):
        stream.flush()
    texts = [stream.buffer.getvalue().decode() for stream in (out, err)]
    return code, *texts, kept


@pytest.fixture(scope="module")
def nothing_begins():
    """No command trains, renders, counts or downloads; one that does not end is stopped."""

    def begin(*arguments, **options):
        raise Began

    def stop(*frame):
        raise Endless

    with pytest.MonkeyPatch.context() as patch:
        for place in WORK:
            patch.setattr(place, begin)
        patch.setattr("sakbench.report.dry_run.cost", lambda run: Cost(1, 1, 1, 1, 1, 1))
        patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        former = signal.signal(signal.SIGALRM, stop)
        yield
        signal.signal(signal.SIGALRM, former)


def answers(line: list[str]) -> None:
    """The command ends with a result, or with one sentence and nothing else done; no password is shown."""
    told = shlex.join(line)
    code, out, err, kept = call(line)
    assert SECRET not in out + err, told
    assert "Traceback" not in out + err, told
    if code == 2:
        assert kept, told
        if out and not err and "check" in line[:2]:  # whose verdict is a result
            return
        assert re.fullmatch(r"sakbench: [^\n\r\x1b]*\w[^\n\r\x1b]*\n", err), (told, err)
    else:
        assert code in (0, None), (told, code)


@pytest.mark.usefixtures("nothing_begins")
@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
@settings(drawn, max_examples=30)
@given(data=st.data())
def test_a_command_line_gets_a_result_or_a_sentence(words, data):
    answers(data.draw(lines(words, COMMANDS[words])))


@pytest.mark.usefixtures("nothing_begins")
@pytest.mark.parametrize(
    "line",
    [
        ["run", "table7", "--dry-run", "--seeds", "9" * 30],
        ["repeat", RUN, "--store", "stored.jsonl", "--jobs", "9" * 30],
        ["ls", "--store", "d" * 300 + ".jsonl"],
        ["show", "table7", "--store", "d" * 300 + ".db"],
        ["predict", "folder", "d" * 300 + ".png"],
        ["data", "check", "line\nbreak"],
        ["score", "depth", "--predictions", "line\r\x1b[2J", "--truth", "folder"],
        ["score", "depth", "--predictions", "folder", "--truth=--"],
        ["show", URLS[0]],
        ["data", "check", URLS[0]],
        ["run", "table7", URLS[0]],
        ["export", "leaderboard", "--store", "stored.jsonl", "--output", "d" * 300 + ".csv"],
    ],
    ids=lambda line: "_".join(line)[:40].encode("unicode_escape").decode(),
)
def test_lines_that_are_easily_got_wrong(line):
    answers(line)


@pytest.mark.usefixtures("nothing_begins")
@settings(drawn, max_examples=60)
@given(data=st.data())
def test_words_that_are_no_command_get_a_sentence(data):
    start = data.draw(st.sampled_from([*COMMANDS]))
    words = data.draw(st.lists(near(data.draw(st.sampled_from(start))) | st.sampled_from([*WRONG, *URLS]), max_size=3))
    answers([*start[: data.draw(st.integers(0, len(start) - 1))], *words])


# Specs and exports

PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
WORDS = st.sampled_from(["tasks", "score", "distill", "mlore", "mor", "", "semseg", "../..", "\udcff", "\0", SECRET])
HUGE = st.sampled_from([2**63, -(2**63) - 1, 10**400, "x" * 10**5, 1e308])
JSON = st.recursive(
    PLAIN | WORDS | HUGE,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


def places(values):
    """Every place within a JSON value, as the container and its key."""
    keys = values if isinstance(values, dict) else range(len(values)) if isinstance(values, list) else ()
    for key in keys:
        yield values, key
        yield from places(values[key])


@st.composite
def mutated(draw, original):
    """A JSON value with up to three of its places replaced, removed, added to or made like another."""
    values = json.loads(json.dumps(original))
    for _ in range(draw(st.integers(1, 3))):
        known = list(places(values))
        if not known:
            break
        inner, key = draw(st.sampled_from(known))
        act = draw(st.sampled_from(["replace", "replace", "replace", "remove", "add", "copy"]))
        if act == "replace":
            inner[key] = draw(JSON)
        elif act == "copy":
            other, where = draw(st.sampled_from(known))
            inner[key] = json.loads(json.dumps(other[where]))
        elif act == "remove":
            del inner[key]
        elif isinstance(inner, dict):
            inner[draw(st.text(max_size=6))] = draw(JSON)
        else:
            inner.append(draw(JSON))
    return values


SPECS = [multi_task(MINI, 0), sak(MINI, 1, tables.TRIO), scored(sak(MINI, 0, ("SAM",)), "invpt")]


@settings(drawn, max_examples=400)
@given(values=JSON | st.sampled_from([spec.to_dict() for spec in SPECS]).flatmap(mutated))
def test_values_are_a_spec_or_get_a_sentence(values):
    try:
        spec = RunSpec.from_dict(values)
    except UserError as error:
        assert str(error).isprintable() and len(str(error)) < 500
    else:
        assert RunSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec
        assert len(spec.id) == 12


def opens(text: bytes) -> None:
    """A file is an export, all of which can be read, or gets a sentence."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "export.jsonl"
        path.write_bytes(text)
        try:
            store = open_store(path, write=False)
            store.frame(), store.runs(), store.complete()
        except UserError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize("value", [2**63, 10**400, "\udcff", "x" * 10**6], ids=["bigger", "huge", "half", "long"])
@pytest.mark.parametrize("name", ["seed", "label", "duration_s", "spec"])
def test_an_export_with_values_that_no_column_holds_opens_or_gets_a_sentence(name, value):
    run = json.loads(EXPORT[1]) | {name: value}
    opens(f"{EXPORT[0]}\n{json.dumps(run)}\n".encode())


@settings(drawn, max_examples=250)
@given(content=mutated([json.loads(line) for line in EXPORT]))
def test_an_export_with_other_values_opens_or_gets_a_sentence(content):
    opens("".join(f"{json.dumps(line)}\n" for line in content).encode())


@settings(drawn, max_examples=100)
@given(data=st.data())
def test_an_export_with_other_bytes_opens_or_gets_a_sentence(data):
    text = bytearray("".join(f"{line}\n" for line in EXPORT).encode())
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(text)))
        stop = start + data.draw(st.sampled_from([0, 1, 5, 1000]))
        text[start:stop] = data.draw(
            st.sampled_from([b"[" * 2000, b"9" * 5000, b"1e999", b"NaN"]) | st.binary(max_size=4)
        )
    opens(bytes(text))
