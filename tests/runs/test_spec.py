import json
import subprocess
import sys
from dataclasses import replace
from functools import reduce
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sakbench.errors import UserError
from sakbench.experiments import tables
from sakbench.experiments.rows import sak, scored, stage1
from sakbench.models.adapter import ADAPTERS
from sakbench.models.decoders import DECODERS
from sakbench.models.router import ROUTERS
from sakbench.models.upper_bound import FUSIONS
from sakbench.runs import scales, spec
from sakbench.runs.scales import MINI
from sakbench.runs.spec import RunSpec
from sakbench.tasks.protocols import PROTOCOLS
from tests.conftest import ROOT

TABLES = [
    (experiment, scales.get(name, dataset))
    for experiment in (*tables.EXPERIMENTS.values(), tables.probe_of("timm/vit_tiny_patch16_224"))
    for name, dataset in (("mini", ""), ("paper", ""), ("paper", "nyud-v2"))
    if name in experiment.scales
]
# A run of every kind in one another: a score of a stage 2 after a stage 1.
NESTED = scored(sak(MINI, 0, ("DINOv2", "SAM")), "invpt").to_dict()


def changed(place, value):
    """The nested spec with another value at a place such as start.recipe.lr; without the field for `...`."""
    values = json.loads(json.dumps(NESTED))
    *folders, name = place.split(".")
    inner = values
    for folder in folders:
        inner = inner[folder]
    inner[name] = value
    if value is ...:
        del inner[name]
    return values


def test_equal_settings_are_the_same_run():
    assert sak(MINI, 1, ("DINOv2", "SAM")).id == sak(MINI, 1, ("DINOv2", "SAM")).id
    assert json.loads(json.dumps(sak(MINI, 1, ("CLIP",)).to_dict()))["teachers"] == [["CLIP", MINI.teachers["CLIP"]]]


def test_every_choice_changes_the_identity():
    spec = sak(MINI, 0, ("DINOv2",))
    others = [
        replace(spec, seed=1),
        replace(spec, recipe=replace(spec.recipe, lr=spec.recipe.lr * 2)),
        replace(spec, routers=False),
        replace(spec, start=None),
        replace(spec, teachers=(("DINOv2", "another"),)),
        replace(spec, inputs=("miniworld 999",)),
        replace(spec, start=replace(stage1(MINI, 0, ("DINOv2",)), seed=5)),
    ]
    assert len({spec.id, *(other.id for other in others)}) == 1 + len(others)


@settings(derandomize=True, deadline=None, max_examples=100)
@given(
    table=st.sampled_from(TABLES),
    protocol=st.sampled_from([*PROTOCOLS]),
    seed=st.integers(0, 2**63 - 1),
    words=st.fixed_dictionaries({}, optional={name: st.sampled_from(words) for name, words in scales.CHOICES.items()}),
)
def test_a_spec_comes_back_from_its_values(table, protocol, seed, words):
    experiment, scale = table
    rows = tables.under(experiment, protocol).build(scales.with_choices(scale, **words), seed)
    for run in (run for row in rows for run in row.runs):
        for values in (run.to_dict(), json.loads(json.dumps(run.to_dict()))):
            again = RunSpec.from_dict(values)
            assert again == run and again.id == run.id


def test_every_table_comes_back_from_its_values():
    for (experiment, scale), seed in product(TABLES, range(2)):
        for row in experiment.build(scale, seed):
            for run in row.runs:
                assert RunSpec.from_dict(json.loads(json.dumps(run.to_dict()))) == run


def test_stored_runs_are_what_their_ids_say():
    lines = (ROOT / "results" / "mini.jsonl").read_text(encoding="utf-8").splitlines()
    runs = [line for line in map(json.loads, lines) if line["type"] == "run"]
    assert runs
    assert [RunSpec.from_dict(run["spec"]).id for run in runs] == [run["id"] for run in runs]


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        ("kind", "scor", ["kind", "'scor'", "'distill', 'tasks', 'score'"]),
        ("kind", None, ["kind", "None"]),
        ("scale", "", ["scale", "printable"]),
        ("backbone", "mini\nvit", ["backbone", r"'mini\nvit'"]),
        ("seed", True, ["seed", "True", "whole number from 0"]),
        ("seed", 1.0, ["seed", "1.0"]),
        ("seed", -1, ["seed", "-1"]),
        ("train_images", 0, ["train_images", "whole number from 1"]),
        ("test_images", "400", ["test_images", "'400'"]),
        ("frozen", 0, ["frozen", "true or false"]),
        ("gamma", float("nan"), ["gamma", "nan", "finite"]),
        ("gamma", True, ["gamma", "True"]),
        ("max_dist", float("inf"), ["max_dist", "inf"]),
        ("max_dist", 10**400, ["max_dist", "finite"]),
        ("inputs", "miniworld 1", ["inputs", "a list"]),
        ("inputs", ["miniworld 1", 2], ["inputs[1]", "2"]),
        ("teachers", [["DINOv2"]], ["teachers[0]", "a list of 2"]),
        ("teachers", [["DINOv2", "mini_vit_b.dinov2", "3"]], ["teachers[0]", "a list of 2"]),
        ("tasks", ["semseg", "boundry"], ["tasks[1]", "'boundry'", "'boundary'"]),
        ("tasks", [], ["tasks", "empty"]),
        ("size", [64], ["size", "a list of 2"]),
        ("size", [64, 0], ["size[1]", "0"]),
        ("norm", "papr", ["norm", "'paper', 'native'"]),
        ("sam_padding", "crp", ["sam_padding", "'crop', 'stretch'"]),
        ("noise", "globl", ["noise", "'position', 'global'"]),
        ("nyud_truth", "clen", ["nyud_truth", "'seism', 'clean'"]),
        ("decoder", "mlor", ["decoder", "'simple', 'mlore'"]),
        ("fuse", "sum", ["fuse", "'', 'addition', 'concat', 'mor'"]),
        ("protocol", ["paper"], ["protocol", "['paper']", "'invpt'"]),
        ("recipe", [], ["recipe", "an object"]),
        ("recipe.steps", 0, ["recipe.steps", "from 1"]),
        ("recipe.lr", "1e-3", ["recipe.lr", "'1e-3'", "finite"]),
        ("recipe.clip", -1.0, ["recipe.clip", "-1.0"]),
        ("recipe.schedule", "cosin", ["recipe.schedule", "'cosine', 'poly'"]),
        ("recipe.stps", 1, ["recipe", "'stps'", "did you mean steps?"]),
        ("recipe.warmup", ..., ["recipe", "has no warmup"]),
        ("start.start.recipe.precision", "fp16", ["start.start.recipe.precision", "'fp32', 'bf16'"]),
        ("start.start.teachers", [], ["teachers", "kind distill", "empty"]),
        ("start", [], ["start", "[]", "an object"]),
        ("start", None, ["start", "kind score", "none"]),
        ("start.start", NESTED["start"] | {"start": None}, ["start", "kind tasks", "none or distill"]),
        ("start.start.start", NESTED, ["start", "kind distill", "none or distill"]),
        ("start.start.start", reduce(lambda inner, _: NESTED | {"start": inner}, range(20), NESTED), ["too many"]),
        ("gama", 1.0, ["'gama'", "did you mean gamma?"]),
        ("gamma", ..., ["has no gamma"]),
    ],
)
def test_what_is_no_spec_is_told_by_its_field(place, value, words):
    with pytest.raises(UserError) as told:
        RunSpec.from_dict(changed(place, value))
    sentence = str(told.value)
    assert len(sentence) < 500 and sentence.endswith((".", "?")) and sentence.isprintable()
    for word in words:
        assert word in sentence


@pytest.mark.parametrize("values", [None, [], "spec", {}, {1: 2}])
def test_what_is_no_object_of_fields_is_no_spec(values):
    with pytest.raises(UserError, match="a run's spec"):
        RunSpec.from_dict(values)


def test_what_is_huge_is_told_in_short():
    for place, value in (("scale", "x" * 10**6), ("seed", 10**6000), ("size", [10**6000] * 10**6), ("x" * 10**6, 1)):
        with pytest.raises(UserError) as told:
            RunSpec.from_dict(changed(place, value))
        assert place[:5] in str(told.value) and len(str(told.value)) < 500


def test_specs_nested_without_end_are_refused():
    bomb, endless, brackets = None, dict(NESTED), []
    for _ in range(100_000):
        bomb, brackets = NESTED | {"start": bomb}, [brackets]
    endless["start"] = endless
    for values in (bomb, endless, NESTED | {"inputs": brackets}, NESTED | {"start": brackets}, brackets):
        with pytest.raises(UserError):
            RunSpec.from_dict(values)


def test_the_words_of_a_spec_are_those_of_the_models():
    assert spec.Decoder.__metadata__[0]() == tuple(DECODERS)
    assert spec.Router.__metadata__[0]() == tuple(ROUTERS)
    assert spec.Adapter.__metadata__[0]() == tuple(ADAPTERS)
    assert spec.Fusion.__metadata__[0] == ("", *FUSIONS)


def test_a_spec_is_read_without_torch():
    code = "import sys, sakbench.runs.spec\nassert not {'torch', 'numpy', 'pandas', 'timm'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
