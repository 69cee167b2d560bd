import json

import pytest

from sakbench.bench.cases import BARE, CASES, OURS, PLAIN


def test_a_measurement_says_what_against_what(sakbench):
    asked = ("student", "data", "--images", "2", "--teachers", "1,2", "--tasks", "1", "--rounds", "2")
    done = sakbench("bench", *asked, "--device", "cpu", "--random-weights", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["measured"]
    lines = {(line["teachers"], line["subject"]): line for line in found if line["what"] == "student"}
    assert set(lines) == {(teachers, subject) for teachers in (1, 2) for subject in (OURS, PLAIN, BARE)}
    for (_, subject), line in lines.items():
        rates = line["images_per_second"]
        assert 0 < rates["min"] <= rates["median"] <= rates["max"]
        assert ("times_plain" in line) == ("times_bare" in line) == (subject == OURS)
        assert 0 < line["share"] < 1.5
    for subject in (OURS, PLAIN):  # a teacher more is a path more
        assert lines[2, subject]["macs"] > lines[1, subject]["macs"]
        assert lines[2, subject]["memory"] > lines[1, subject]["memory"]
    for teachers in (1, 2):
        ours, plain = lines[teachers, OURS], lines[teachers, PLAIN]
        assert ours["macs"] < plain["macs"]
        assert ours["memory"] < plain["memory"]
        assert ours["operators"] < plain["operators"]
    assert [line["subject"] for line in found if line["what"] == "data"][1] == "training process itself"


def test_every_case_runs_and_is_a_table(sakbench):
    asked = ("--images", "1", "--teachers", "1", "--tasks", "2", "--rounds", "1", "--device", "cpu")
    done = sakbench("bench", *CASES, *asked)
    assert done.returncode == 0, done.stderr
    for name in CASES:
        assert f"{name} ·" in done.stdout
    assert done.stdout.count(PLAIN) == len(CASES)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("stag1",), "stage1"),
        (("inference", "--teachers", "4"), "1 to 3 teachers, not 4"),
        (("inference", "--tasks", "2,0"), "not a positive whole number"),
        (("inference", "--size", "96"), "scale mini has models of one size"),
        (("inference", "--scale", "paper", "--model", "ViT-X"), "ViT-S"),
        (("inference", "--scale", "paper", "--size", "512by512", "--random-weights"), "512by512"),
        (("inference", "--scale", "paper", "--size", "100", "--random-weights", "--device", "cpu"), "multiple of 16"),
        (("inference", "--device", "tpu"), "cpu"),
        (("inference", "--images", "100000000000", "--device", "cpu"), "name fewer with --images"),
    ],
)
def test_what_cannot_be_measured_is_one_sentence(sakbench, arguments, sentence):
    done = sakbench("bench", *arguments)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
