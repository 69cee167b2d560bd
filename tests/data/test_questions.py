"""Questions: the benchmarks' files as they are published, and mini's, whose answers the labels bear out."""

from collections import Counter

import numpy as np
import pytest

from sakbench.data import miniworld
from sakbench.data.miniworld import questions as rendered
from sakbench.data.questions import Question, Turn, readers
from sakbench.errors import UserError
from tests.data.questions import llava


def test_the_benchmarks_questions_are_read(tmp_path):
    folder = readers.find(llava(tmp_path / "llava").parent)
    assert readers.questions(folder, "gqa") == [Question("gqa", "gqa/images/2.jpg", "Is there a cat?", ("no",))]
    pope = readers.questions(folder, "pope")
    assert len(pope) == 6
    assert pope[1] == Question(
        "pope", "coco/val2014/COCO_val2014_000000000003.jpg", "Is there a cat?", ("no",), "random"
    )
    assert [question.kind for question in pope[::2]] == ["random", "popular", "adversarial"]
    (vqa,) = readers.questions(folder, "vqav2")
    assert vqa.image == "coco/val2014/COCO_val2014_000000000003.jpg"
    assert Counter(vqa.answers) == {"red": 7, "blue": 3}


def test_instructions_are_conversations_with_and_without_an_image(tmp_path):
    folder = llava(tmp_path)
    aligned = readers.conversations(folder, "align")
    assert aligned[0] == ("LLaVA-Pretrain/0000/0.jpg", (Turn("describe the picture", "a red ball"),))
    first, _, last = readers.conversations(folder, "instruct")
    assert first == ("coco/train2017/1.jpg", (Turn("is there a ball", "yes"), Turn("what colour is it", "red")))
    assert last == (None, (Turn("what is red", "a colour"),))


def test_what_is_missing_is_told_before_anything_is_read(tmp_path):
    folder = llava(tmp_path / "llava")
    for place in ("ocr_vqa", "textvqa", "vg"):
        (folder / place).mkdir()
    readers.require(tmp_path)
    (folder / "pope/coco_pope_popular.json").unlink()
    (folder / "vg").rmdir()
    with pytest.raises(UserError, match=r"pope/coco_pope_popular.json, vg/ missing there"):
        readers.require(tmp_path)


def test_what_is_wrong_is_told_with_its_file(tmp_path):
    with pytest.raises(UserError, match=r"LLaVA-1.5's data are not in .*llava_v1_5_mix665k.json"):
        readers.find(tmp_path)
    folder = llava(tmp_path / "llava")
    file = folder / "vqav2/v2_mscoco_val2014_annotations.json"
    file.write_text('{"annotations": [{"question_id": 1}]}')
    with pytest.raises(UserError, match=r"annotations.json is not as it should be"):
        readers.questions(folder, "vqav2")
    file.unlink()
    with pytest.raises(UserError, match=r"annotations.json is missing"):
        readers.questions(folder, "vqav2")
    (folder / "gqa/testdev_balanced_questions.json").write_text("[]")
    with pytest.raises(UserError, match="a list instead of a dict"):
        readers.questions(folder, "gqa")
    (folder / "blip_laion_cc_sbu_558k.json").write_text('[{"conversations": [{"from": "gpt", "value": "x"}]}]')
    with pytest.raises(UserError, match=r"record 1 of .* is no conversation"):
        readers.conversations(folder, "align")
    (folder / "pope/coco_pope_random.json").write_text("{broken\n")
    with pytest.raises(UserError, match="line 1"):
        readers.questions(folder, "pope")


@pytest.fixture(scope="module")
def scenes():
    return miniworld.load_split("val", "pascal", 60)


def test_minis_answers_are_those_of_the_labels(scenes):
    seen = Counter()
    for row in range(len(scenes)):
        asked = rendered.questions(scenes, row)
        assert asked == rendered.questions(scenes, row)  # the same for the same seed
        there = {miniworld.CLASSES[label] for label in np.unique(scenes.labels["semseg"][row])}
        pope = [question for question in asked if question.benchmark == "pope"]
        assert Counter(question.answers for question in pope) in ({("yes",): 1, ("no",): 1}, {})
        for question in pope:
            assert (question.text.split()[-1] in there) == (question.answers == ("yes",))
        for question in asked:
            seen[question.benchmark] += 1
            assert set(f"{question.text} {question.answers[0]}".split()) <= set(rendered.words())
            if question.text.startswith("where is"):
                label = miniworld.CLASSES.index(question.text.split()[-1])
                columns = np.nonzero(scenes.labels["semseg"][row] == label)[1]
                middle = columns.mean() / scenes.labels["semseg"].shape[2]
                side = "left" if middle < 1 / 3 else "right" if middle > 2 / 3 else "middle"
                seen["places"] += 1
                seen["right places"] += side == question.answers[0]
        assert set(rendered.caption_words(scenes, row).split()) <= set(rendered.words())
    assert seen["gqa"] > 60
    assert seen["vqav2"] > 120
    assert seen["right places"] >= 0.95 * seen["places"]  # another of the class may show a little


def test_other_seeds_ask_other_questions(scenes):
    assert any(rendered.questions(scenes, row, 0) != rendered.questions(scenes, row, 1) for row in range(5))


def test_lookalikes_are_asked_for(scenes):
    near = 0
    for row in range(len(scenes)):
        there = {miniworld.CLASSES[label] for label in np.unique(scenes.labels["semseg"][row])}
        for question in rendered.questions(scenes, row):
            if question.benchmark == "pope" and question.answers == ("no",):
                name = question.text.split()[-1]
                near += any(name in pair and pair - {name} <= there for pair in ({"cat", "dog"}, {"ball", "melon"}))
    assert near >= 3
