"""Question answering as runs: in mini, with a student and blind, and at scale paper with a small language model."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import tokenizers
import torch
import transformers

from sakbench import backbones, data
from sakbench.data.archives.files import read_image
from sakbench.data.transforms import WholeTransform
from sakbench.errors import UserError
from sakbench.experiments.rows import answering
from sakbench.runs import languages
from sakbench.runs.folder import sums_in
from sakbench.runs.lessons import Photographs, Scenes
from sakbench.runs.measures import measures
from sakbench.runs.perform import Stopped, perform
from sakbench.runs.place import Place
from sakbench.runs.scales import MINI, get
from sakbench.runs.session import Session
from sakbench.runs.spec import RunSpec
from sakbench.training.scenes import images_tensor
from tests.data.questions import llava
from tests.runs.stage1 import fresh


def do(run, place, stop=lambda: False):
    for one in run.lineage:
        result = perform(one, place, lambda progress: None, stop)
    return {metric["task"]: metric["value"] for metric in result["metrics"]}, result


@pytest.mark.parametrize("options", [{}, {"teachers": ("DINOv2", "SAM")}, {"blind": True}], ids=str)
def test_every_benchmark_has_a_score(tiny, tmp_path, options):
    run = answering(tiny, 0, **options)
    assert RunSpec.from_dict(run.to_dict()).id == run.id
    numbers, result = do(run, Place(tmp_path))
    assert set(numbers) == {"gqa", "pope", "vqav2"}
    assert all(0 <= value <= 100 for value in numbers.values())
    assert "questions of miniworld-pascal test 12" in result["metrics"][0]["protocol"]
    left = sums_in(tmp_path / run.id)
    for name, reduce in measures(run).items():  # what is left image by image is what the numbers are made of
        assert reduce(left[name].sum(0)) == pytest.approx(numbers[name])


def test_a_stopped_run_goes_on_in_its_phase(tiny, tmp_path):
    run = answering(tiny, 0)
    expected, _ = do(run, Place(tmp_path / "one"))
    for most in (0, 1):  # in the first phase, and in the second
        asked = 0

        def soon(most=most):
            nonlocal asked
            asked += 1
            return asked > most

        with pytest.raises(Stopped):
            do(run, Place(tmp_path / "two"), soon)
    assert list((tmp_path / "two").rglob("instruct/step-*"))
    found, _ = do(run, Place(tmp_path / "two"))
    assert found == expected


@pytest.fixture(scope="module")
def language(tmp_path_factory):
    """A Llama of a few thousand parameters with a tokenizer of words, saved as transformers saves them."""
    folder = tmp_path_factory.mktemp("language")
    words = "[UNK] <s> </s> A chat USER: ASSISTANT: is there a ball cat yes no red what colour it describe the picture"
    vocabulary = {word: number for number, word in enumerate(words.split())}
    kind = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="[UNK]"))
    kind.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=kind, bos_token="<s>", eos_token="</s>", unk_token="[UNK]"
    )
    config = transformers.LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=512,
    )
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder


class Colours:
    """A tower that represents an image by its mean colour."""

    def represent(self, images):
        return images.mean((2, 3))[None, :, None, :]


def test_every_scene_is_asked_about_with_its_own_image(tiny):
    spec = answering(tiny, 0)
    lessons = Scenes(spec, Colours(), torch.device("cpu"))
    size = backbones.info(spec.backbone).image_size

    def expected(image):
        split, row = image
        scenes = data.load(spec.dataset, split, max(spec.train_images, spec.test_images))
        return images_tensor(scenes, np.array([row]), size).mean((2, 3))[0]

    groups = [[3, 0], [len(lessons.asked) - 1]]
    for rows, seen in zip(groups, lessons.shown(groups), strict=True):
        for place, row in enumerate(rows):
            found = seen["represented"][0, place, 0]
            torch.testing.assert_close(found, expected(lessons.asked[row].image), atol=2e-3, rtol=0)
    rows, seen = next(lessons.learned("instruct", 4, 1, start=2))
    for place, row in enumerate(rows):
        image, _ = lessons.conversations["instruct"][row]
        torch.testing.assert_close(seen["represented"][0, place, 0], expected(image), atol=2e-3, rtol=0)


def small_paper(language):
    return replace(
        get("paper"),
        vit=MINI.vit,
        teachers=MINI.teachers,
        sizes={},
        distill_size=(48, 48),
        distill_images=2,
        language=str(language),
        align=replace(get("paper").align, steps=2, batch_size=2, warmup=1),
        instruct=replace(get("paper").instruct, steps=2, batch_size=2, warmup=1),
    )


def test_every_photograph_stands_with_its_own_words(language, tmp_path):
    folder = llava(tmp_path / "llava")
    run = answering(small_paper(language), 0, side=64)
    session = Session(run, Place(tmp_path / "runs", tmp_path), lambda progress: None, lambda: False)
    lessons = Photographs(session, seen=True)
    view = WholeTransform((64, 64))

    def expected(image):
        if image is None:
            return torch.zeros(3, 64, 64)
        return view({"image": read_image(folder / image)})["image"]

    groups = [[0, 7], [3]]  # of GQA and VQAv2, and of POPE: two pictures of another colour
    for rows, seen in zip(groups, lessons.shown(groups), strict=True):
        for place, row in enumerate(rows):
            torch.testing.assert_close(seen["image"][place], expected(lessons.asked[row].image))
    assert (expected(lessons.asked[0].image) != expected(lessons.asked[7].image)).any()
    rows, seen = next(lessons.learned("instruct", 2, 1, start=1))
    for place, row in enumerate(rows):
        torch.testing.assert_close(seen["image"][place], expected(lessons.conversations["instruct"][row][0]))


@pytest.mark.parametrize("teachers", [(), ("DINOv2",)], ids=str)
def test_photographs_are_asked_about(language, tmp_path, teachers):
    llava(tmp_path / "llava")
    paper = small_paper(language)
    run = answering(paper, 0, teachers=teachers, side=64)
    assert run.size == (64, 64)
    place = Place(tmp_path / "runs", tmp_path)
    if teachers:  # its stage 1 is a student fresh from the backbone: nothing distils here
        fresh(Session(run.start, place, lambda progress: None, lambda: False))
    numbers = {m["task"]: m["value"] for m in perform(run, place, lambda progress: None, lambda: False)["metrics"]}
    assert set(numbers) == {"gqa", "pope", "vqav2"}


def test_vicuna_is_spoken_to_as_llava_speaks_to_it(language):
    vicuna = languages.load(str(language))
    said = vicuna.tokenizer.convert_ids_to_tokens
    assert "USER:" in said(vicuna.before(captions=False))
    assert said(vicuna.before(captions=True)) == ["<s>"]
    assert said(vicuna.question("is there a ball", first=True, pictured=True))[-1] == "ASSISTANT:"
    assert "USER:" not in said(vicuna.question("is there a ball", first=True, pictured=True))
    assert said(vicuna.question("what colour", first=False, pictured=True))[0] == "USER:"
    seen: list[str] = []
    vicuna.encode = lambda text: seen.append(text) or [0]
    for first, pictured in ((True, True), (True, False), (False, True)):
        vicuna.question("q", first=first, pictured=pictured)
    assert seen == ["\nq ASSISTANT:", "q ASSISTANT:", "USER: q ASSISTANT:"]


def test_a_language_model_that_is_nowhere_is_told(language, tmp_path):
    with pytest.raises(UserError, match=r"no/such/place cannot be had .*--language"):
        languages.load("no/such/place")
    languages.require(str(language))
    for file in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / file).write_bytes((language / file).read_bytes())
    with pytest.raises(UserError, match="holds no weights"):
        languages.require(str(tmp_path))


def test_a_language_model_in_a_folder_is_known_by_what_it_is(language, tmp_path):
    copy = shutil.copytree(language, tmp_path / "copy")
    paper = replace(get("paper"), language=str(copy))
    before = answering(paper, 0)
    assert before.id == answering(paper, 0).id
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes() + b"x")
    assert answering(paper, 0).id != before.id


def test_a_language_model_that_nobody_asks_is_refused(sakbench):
    done = sakbench("run", "table7", "--scale", "paper", "--language", "some/model", "--dry-run")
    assert done.returncode == 2
    assert "none of these runs asks a language model" in done.stderr
    done = sakbench("run", "table7", "--scale", "paper", "--dataset", "llava", "--dry-run")
    assert done.returncode == 2
    assert "llava has none" in done.stderr


def test_mini_has_a_language_model_of_its_own(sakbench):
    done = sakbench("run", "table28", "--language", "no/such/place", "--dry-run")
    assert done.returncode == 2
    assert "scale mini has a language model of its own" in done.stderr


def test_without_data_or_steps_there_is_a_sentence(sakbench, tmp_path):
    done = sakbench("run", "table28", "--scale", "paper", "--data", str(tmp_path))
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
