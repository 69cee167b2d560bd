"""What comes from elsewhere (weights, exports, names) is data: it is never executed, and leads to no other place."""

import ast
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sakbench.backbones import files
from sakbench.cli import main
from sakbench.errors import UserError
from sakbench.models import load_checkpoint
from sakbench.models.sak import SAK
from sakbench.store import open_store
from tests.conftest import ROOT
from tests.report.test_predict import student

CODE = [file for folder in ("sakbench", "studies", "benchmarks") for file in sorted((ROOT / folder).rglob("*.py"))]
LINES = (ROOT / "results" / "mini.jsonl").read_text(encoding="utf-8").splitlines()

# In the code


def calls(text):
    """Every call in some code: its line, the called name in full, its keywords, and the call itself."""
    tree = ast.parse(text)
    # What is imported by its bare name stands for its full one.
    full = {
        alias.asname or alias.name: f"{node.module}.{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name, keywords = ast.unparse(node.func), {word.arg: ast.unparse(word.value) for word in node.keywords}
            yield node.lineno, full.get(name, name), keywords, node


def breaches(what, text):
    """The lines of some code that do what is forbidden."""
    return [line for line, name, keywords, call in calls(text) if FORBIDDEN[what](name, keywords, call)]


def literal(node):
    """Whether an expression is text that stands in the code: one string, or a choice of two."""
    if isinstance(node, ast.IfExp):
        return literal(node.body) and literal(node.orelse)
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


EXECUTES = {"eval", "exec", "compile", "__import__", "os.system", "os.popen"}
UNPICKLES = ("pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "pd.read_pickle")
FORBIDDEN = {
    "runs text as code": lambda name, keywords, call: name in EXECUTES,
    "hands a line to a shell": lambda name, keywords, call: keywords.get("shell", "False") != "False",
    "unpickles": lambda name, keywords, call: (
        name.split(".")[0] in UNPICKLES and name.split(".")[-1] in {"load", "loads", "Unpickler", "open"}
    ),
    "reads pickles through pandas": lambda name, keywords, call: name.endswith("read_pickle"),
    "loads YAML objects": lambda name, keywords, call: name in {"yaml.load", "yaml.unsafe_load", "yaml.full_load"},
    "loads more than tensors": lambda name, keywords, call: (
        name == "torch.load" and keywords.get("weights_only") != "True"
    ),
    "loads pickled arrays": lambda name, keywords, call: keywords.get("allow_pickle", "False") != "False",
    "runs a hub's code": lambda name, keywords, call: "trust_remote_code" in keywords or name == "torch.hub.load",
    "unpacks an archive anywhere": lambda name, keywords, call: (
        name.split(".")[-1] in {"extractall", "unpack_archive"} and keywords.get("filter") != "'data'"
    ),
    "writes SQL from parts": lambda name, keywords, call: (
        (name.split(".")[-1] in {"exec_driver_sql", "executescript"} or name in {"sqlalchemy.text", "sa.text"})
        and not literal(call.args[0])
    ),
    "executes SQL from parts": lambda name, keywords, call: (
        name.split(".")[-1] == "execute" and bool(call.args) and isinstance(call.args[0], ast.JoinedStr | ast.BinOp)
    ),
}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_code(what):
    found = {str(file): breaches(what, file.read_text(encoding="utf-8")) for file in CODE}
    assert CODE and not [f"{file}:{line}" for file, lines in found.items() for line in lines]


@pytest.mark.parametrize(
    ("what", "line"),
    [
        ("runs text as code", "eval(text)"),
        ("hands a line to a shell", "subprocess.run(line, shell=True)"),
        ("unpickles", "pickle.loads(data)"),
        ("unpickles", "from pickle import load as read\nread(file)"),
        ("reads pickles through pandas", "pd.read_pickle(file)"),
        ("loads YAML objects", "yaml.load(text)"),
        ("loads more than tensors", "torch.load(path)"),
        ("loads more than tensors", "torch.load(path, weights_only=False)"),
        ("loads pickled arrays", "np.load(path, allow_pickle=True)"),
        ("runs a hub's code", "AutoModel.from_pretrained(name, trust_remote_code=True)"),
        ("unpacks an archive anywhere", "archive.extractall(folder)"),
        ("writes SQL from parts", "connection.execute(sqlalchemy.text(f'DROP TABLE {name}'))"),
        ("writes SQL from parts", "from sqlalchemy import text\ntext('DROP TABLE ' + name)"),
        ("writes SQL from parts", "connection.exec_driver_sql('DROP TABLE ' + name)"),
        ("executes SQL from parts", "connection.execute(f'DROP TABLE {name}')"),
    ],
)
def test_what_is_forbidden_would_be_seen(what, line):
    assert breaches(what, line)


# Weights


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def trapped(folder: Path, kind: str) -> tuple[Path, Path]:
    """A file of weights with a trap, written in one of the ways there are, and what the trap would make."""
    mark = folder / "sprung"
    file = folder / f"weights{'.npz' if kind == 'npz' else '.pth'}"
    content = {"model": {"patch_embed.proj.weight": torch.zeros(2), "trap": Trap(mark)}, "args": Trap(mark)}
    if kind == "torch":
        torch.save(content, file)
    elif kind == "old torch":
        torch.save(content, file, _use_new_zipfile_serialization=False)
    elif kind == "pickle":
        file.write_bytes(pickle.dumps(content))
    else:
        np.savez(file, embedding=np.array([Trap(mark)], dtype=object))
    return file, mark


@pytest.mark.parametrize("kind", ["torch", "old torch", "pickle"])
@pytest.mark.parametrize("door", [files.read, load_checkpoint, SAK.from_pretrained])
def test_nothing_in_a_file_of_weights_is_executed(tmp_path, kind, door):
    file, mark = trapped(tmp_path, kind)
    with pytest.raises(UserError) as told:
        door(file)
    assert file.name in str(told.value) and "\n" not in str(told.value)
    assert not mark.exists()


def test_a_trap_is_one(tmp_path):
    file, mark = trapped(tmp_path, "pickle")
    pickle.loads(file.read_bytes())
    assert mark.exists()


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        ("torch", ["probe", "timm/vit_tiny_patch16_224", "--weights", "weights.pth"]),
        ("npz", ["probe", "timm/vit_tiny_patch16_224", "--weights", "weights.npz"]),
        ("torch", ["run", "table7", "--weights", "mini_vit_b.clip=weights.pth"]),
        ("torch", ["predict", "weights.pth", "image.png"]),
    ],
)
def test_no_command_executes_what_is_in_a_file_of_weights(tmp_path, monkeypatch, capsys, kind, line):
    monkeypatch.chdir(tmp_path)
    file, mark = trapped(tmp_path, kind)
    Image.new("RGB", (32, 32)).save("image.png")
    with pytest.raises(SystemExit) as end:
        main(line)
    told = capsys.readouterr().err
    assert end.value.code == 2 and told.startswith("sakbench: ") and file.name in told
    assert not mark.exists()


# Exports and names


def export(folder: Path, version: int = 2, **changes: object) -> Path:
    """An export of one run with numbers for tasks, changed."""
    run = next(line for line in map(json.loads, LINES) if line.get("kind") == "tasks")
    lines = [{"type": "schema", "version": version}, run | changes]
    path = folder / "export.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


OUTSIDE = ["../../x", "/etc/passwd", "..", "a/../../b", "C:\\x", "..\\x", "a\0b", ""]


@pytest.mark.parametrize("run_id", [*OUTSIDE, "a/b", "a b", "a;b", "é", "a\n", 7, None])
def test_an_id_that_leads_elsewhere_is_refused(tmp_path, run_id):
    with pytest.raises(UserError, match=r"line 2 of .*export\.jsonl"):
        open_store(export(tmp_path, id=run_id), write=False)


@pytest.mark.parametrize("path", OUTSIDE)
def test_a_file_that_lies_elsewhere_is_refused(tmp_path, path):
    changes = [
        {"checkpoint": path},
        {"checkpoint": f"runs/{path}", "version": 1},  # there the folder of runs comes first
        {"artifacts": [{"path": path, "bytes": 1, "sha256": "0" * 64}]},
    ]
    for change in changes:
        with pytest.raises(UserError, match=r"line 2 of .*export\.jsonl"):
            open_store(export(tmp_path, **change), write=False)


def test_the_export_itself_is_in_order(tmp_path):
    for version in (1, 2):
        assert len(open_store(export(tmp_path, version=version), write=False).complete()[0]) == 1


HOSTILE = ["x'; DROP TABLE runs; --", 'x"; DROP TABLE runs; --', "' OR '1'='1", "%", "_" * 12, "0' UNION SELECT 1 --"]


def test_names_are_data_to_a_store(tmp_path, monkeypatch, capsys):
    """A store answers for a table, a run or a data set of any name, and holds afterwards what it held."""
    monkeypatch.chdir(tmp_path)
    source = export(tmp_path)
    records, _ = open_store(source, write=False).complete()
    store = open_store(tmp_path / "store.db", write=True)
    for name in HOSTILE:
        run = {"runs": {"semseg": records[0].id}, "position": 0, "scale": "mini", "dataset": name, "seed": 0}
        store.add(records[0])
        store.record_row(name, name, **run)
        with pytest.raises(UserError):
            store.lookup(name)
        assert store.find(name) is None
    assert set(store.frame()["table"]) == set(store.frame()["row"]) == set(HOSTILE)
    before = store.complete()
    for name in HOSTILE:
        for line in (
            ["show", name],
            ["show", "table7", "--dataset", name],
            ["run", name],
            ["run", "table7", "--rows", name],
        ):
            with pytest.raises(SystemExit) as end:
                main([*line, "--store", "store.db"])
            assert end.value.code == 2 and capsys.readouterr().err.startswith("sakbench: ")
    assert open_store(tmp_path / "store.db", write=False).complete() == before


# Outputs


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_leaderboard_lies_where_it_was_asked_for(sakbench, tmp_path):
    done = sakbench("export", "leaderboard", "--store", str(export(tmp_path)), "--output", "a.csv")
    assert done.returncode == 0, done.stderr
    assert set(content(tmp_path)) == {"export.jsonl", "a.csv"}
    assert (tmp_path / "a.csv").read_text(encoding="utf-8").count("\n") > 1


def test_predictions_lie_where_they_were_asked_for(sakbench, tmp_path):
    """Names of images are names of files, whatever is in them, and no paths."""
    student().save_pretrained(tmp_path / "student")
    names = ["..", "a;b $(touch sprung)", "%s", "-x"]
    (tmp_path / "images").mkdir()
    for name in names:
        Image.new("RGB", (32, 32)).save(tmp_path / "images" / f"{name}.png", "PNG")
    before = content(tmp_path)
    done = sakbench("predict", "student", "images", "--output", "new/here", "--task", "saliency")
    assert done.returncode == 0, done.stderr
    written = set(content(tmp_path)) - set(before)
    folders = ("pictures/saliency", "predictions/saliency", "sheets")
    assert written == {f"new/here/{folder}/{name}.png" for folder in folders for name in names}
    assert {name: value for name, value in content(tmp_path).items() if name in before} == before
