"""Runs of kind `answer`: a language model that sees through a frozen tower, LLaVA-1.5's way (paper Table 28)."""

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sakbench import backbones, data
from sakbench.data.archives.files import read_image
from sakbench.data.miniworld import questions as rendered_questions
from sakbench.data.questions import Question, Turn, readers
from sakbench.data.transforms import ViewTransform
from sakbench.metrics.answers import SCORERS
from sakbench.models.llava import Llava, PlainTower, SakTower, Tower
from sakbench.models.parameters import parameter_count
from sakbench.models.processes import total, world
from sakbench.models.sak import SAK, carry_over
from sakbench.runs import encoders, languages
from sakbench.runs.learning import grid_of
from sakbench.runs.material import Batch, Material
from sakbench.runs.scales import get as get_scale
from sakbench.runs.session import Learned, Session
from sakbench.training import loader
from sakbench.training.objectives import AnswerObjective
from sakbench.training.order import rows_of_step
from sakbench.training.scenes import images_tensor

MOST_TOKENS = {"mini": 8, "paper": 32}  # patches in each direction that the language model is given
LONGEST = {"mini": 2, "paper": 16}  # tokens of an answer
_TOLD = {"mini": 2048, "paper": 2048}  # tokens of a conversation, at most
_TOGETHER = 50
_DESCRIBE, _BRIEFLY = "describe", "\nAnswer the question using a single word or phrase."
_PROTOCOLS = {
    "gqa": "exact match",
    "pope": "yes or no",
    "vqav2": "mean of min(1, n / 3) over ten answers, normalised",
}

Language = languages.Words | languages.Pretrained
Sample = tuple[Any, list[int], list[bool]]  # an image or its number, the tokens behind it, and which are learned


@dataclass(frozen=True)
class _Lessons:
    """What the two phases learn from, and what is asked at the end; `pictures` gives images by their keys."""

    aligned: Sequence[Any]
    instructed: Sequence[Any]
    asked: Sequence[Question]
    sample: Callable[[Any], Sample]
    pictures: Callable[[Sequence[Any]], Tensor]
    split: str


def answer(session: Session) -> Learned:
    """Both phases, and the benchmarks' questions."""
    spec = session.spec
    assert spec.align is not None
    language = languages.load(spec.language)
    model = Llava(_tower(session), language)
    model.to(session.device)
    lessons = _scenes(session, language) if spec.scale == "mini" else _photographs(session, language)
    seen = _seen(session, model, lessons)
    from_nothing = spec.language == languages.MINI  # it must learn to speak, too
    seconds = 0.0
    for phase, recipe, chosen in (
        ("align", spec.align, lessons.aligned),
        ("instruct", spec.recipe, lessons.instructed),
    ):
        model.language.requires_grad_(from_nothing or phase == "instruct")
        given = _material(session, recipe.batch_size, chosen, lessons, language, seen)
        seconds += session.train(AnswerObjective(model), given, recipe=recipe, phase=phase)
    model.eval()
    scores = _scores(session, model, language, lessons, seen)
    metrics = [
        {
            "task": benchmark,
            "metric": "accuracy",
            "value": 100 * value,
            "unit": "%",
            "higher_is_better": True,
            "protocol": f"{_PROTOCOLS[benchmark]}, {count} questions of {lessons.split}, {spec.language}",
        }
        for benchmark, (value, count) in scores.items()
    ]
    return Learned(metrics, seconds, {"parameters": parameter_count(model)})


def _tower(session: Session) -> Tower | None:
    """What the language model sees through, frozen but for a student's routers."""
    spec = session.spec
    if spec.blind:
        return None
    encoder = encoders.load(spec.backbone, spec, session.place)
    if not spec.teachers:
        encoder.requires_grad_(False)
        return PlainTower(encoder, MOST_TOKENS[spec.scale])
    assert spec.start is not None
    student = SAK(encoder, {name: backbones.info(one).dim for name, one in spec.teachers}, noise=spec.noise)
    carry_over(session.weights_of(spec.start), student, grid_of(spec.start))
    student.requires_grad_(False)
    return SakTower(student, MOST_TOKENS[spec.scale])


Seen = Callable[[Sequence[Any]], dict[str, Tensor]]  # of images' keys, `image` or what is `represented` of them


def _seen(session: Session, model: Llava, lessons: _Lessons) -> Seen:
    """In mini what the frozen tower represents of all scenes is asked once; photographs are looked at as they come."""
    if model.tower is None:
        return lambda keys: {}
    if session.spec.scale != "mini":
        return lambda keys: {"image": lessons.pictures(keys)}
    keys = sorted({lessons.sample(one)[0] for one in lessons.instructed} | {one.image for one in lessons.asked})
    places = {key: place for place, key in enumerate(keys)}
    with torch.inference_mode():
        parts = [
            model.tower.represent(lessons.pictures(keys[first : first + _TOGETHER]).to(session.device)).half().cpu()
            for first in range(0, len(keys), _TOGETHER)
        ]
    known = torch.cat(parts, dim=1)
    return lambda wanted: {"represented": known[:, [places[key] for key in wanted]].float()}


def _material(
    session: Session, batch_size: int, chosen: Sequence[Any], lessons: _Lessons, language: Language, seen: Seen
) -> Material:
    spec, place = session.spec, session.place
    together = place.images or get_scale(spec.scale).layouts[spec.kind].images if spec.scale != "mini" else batch_size
    parts = loader.parts_of(batch_size, together)
    share = batch_size // world()

    def training(start: int) -> Generator[Batch]:
        step = start
        while True:
            rows = rows_of_step(len(chosen), batch_size, spec.seed, step)
            for part in loader.shares(rows, share, parts):
                yield _batch([lessons.sample(chosen[row]) for row in part], language, seen)
            step += 1

    return Material(training, list, list, partial(_moved, device=session.device), parts)


def _batch(samples: Sequence[Sample], language: Language, seen: Seen) -> Batch:
    """Samples side by side, those that are shorter padded behind by -1."""
    longest = max(len(tokens) for _, tokens, _ in samples)
    after = torch.full((len(samples), longest), -1)
    learned = torch.zeros(len(samples), longest, dtype=torch.bool)
    for row, (_, tokens, marks) in enumerate(samples):
        after[row, : len(tokens)] = torch.tensor(tokens)
        learned[row, : len(marks)] = torch.tensor(marks)
    before = torch.tensor(language.before()).expand(len(samples), -1)
    pictured = torch.tensor([image is not None for image, _, _ in samples])
    return {"before": before, "after": after, "learned": learned, "pictured": pictured, **seen([s[0] for s in samples])}


def _conversation(language: Language, image: Any, turns: Sequence[Turn], most: int) -> Sample:
    """Questions and answers as tokens; the answers, and the ends behind them, are learned."""
    opening, closing = language.prefix
    tokens: list[int] = []
    learned: list[bool] = []
    for turn in turns:
        asked = language.encode(f"{opening}{turn.asked}{closing}")
        answered = [*language.encode(turn.answered), language.end]
        tokens += [*asked, *answered]
        learned += [False] * len(asked) + [True] * len(answered)
    return image, tokens[:most], learned[:most]


@torch.inference_mode()
def _scores(
    session: Session, model: Llava, language: Language, lessons: _Lessons, seen: Seen
) -> dict[str, tuple[float, int]]:
    """The mean score of each benchmark, and how many questions it has asked."""
    scores: dict[str, list[float]] = {benchmark: [] for benchmark in SCORERS}
    for group in _by_length(language, lessons.asked, "" if session.spec.scale == "mini" else _BRIEFLY):
        batch = _moved(
            _batch([(question.image, tokens, [False] * len(tokens)) for question, tokens in group], language, seen),
            device=session.device,
        )
        known = batch.get("represented")
        if known is None and model.tower is not None:
            known = model.tower.represent(batch["image"])
        with session.computing:
            said = model.answer(
                batch["before"], known, batch["pictured"], batch["after"], language.end, LONGEST[session.spec.scale]
            )
        for (question, _), tokens in zip(group, said, strict=True):
            scores[question.benchmark].append(SCORERS[question.benchmark](language.decode(tokens), question.answers))
    found = {}
    for benchmark, each in scores.items():
        sums = total(torch.tensor([sum(each), len(each)], dtype=torch.float64, device=session.device))
        if sums[1]:
            found[benchmark] = (float(sums[0] / sums[1]), int(sums[1]))
    return found


def _by_length(
    language: Language, asked: Sequence[Question], ending: str
) -> Iterator[list[tuple[Question, list[int]]]]:
    """This process's share of the questions, those of as many tokens together."""
    opening, closing = language.prefix
    groups: dict[int, list[tuple[Question, list[int]]]] = {}
    for question in asked[torch.distributed.get_rank() if world() > 1 else 0 :: world()]:
        tokens = language.encode(f"{opening}{question.text}{ending}{closing}")
        group = groups.setdefault(len(tokens), [])
        group.append((question, tokens))
        if len(group) == _TOGETHER:
            yield groups.pop(len(tokens))
    yield from groups.values()


def _scenes(session: Session, language: Language) -> _Lessons:
    """Rendered scenes: captions first, then questions; asked are those of other scenes."""
    spec = session.spec
    learned = data.load(spec.dataset, "distill", spec.train_images)
    tested = data.load(spec.dataset, spec.test_split, spec.test_images)
    size = spec.size[0] if spec.size else backbones.info(spec.backbone).image_size
    lessons = [
        (("distill", row), question.text, question.answers[0])
        for row in range(spec.train_images)
        for question in rendered_questions.questions(learned, row)
    ]
    captions = [
        (("distill", row), _DESCRIBE, rendered_questions.caption_words(learned, row))
        for row in range(spec.train_images)
    ]
    asked = [
        Question(one.benchmark, (spec.test_split, row), one.text, one.answers)  # type: ignore[arg-type]
        for row in range(spec.test_images)
        for one in rendered_questions.questions(tested, row)
    ]

    def pictures(keys: Sequence[Any]) -> Tensor:
        splits = {"distill": learned, spec.test_split: tested}
        return torch.cat([images_tensor(splits[split], np.array([row]), size) for split, row in keys])

    def sample(lesson: tuple[Any, str, str]) -> Sample:
        key, text, answered = lesson
        return _conversation(language, key, [Turn(text, answered)], _TOLD["mini"])

    return _Lessons(captions, lessons, asked, sample, pictures, f"{spec.dataset} {spec.test_split} {spec.test_images}")


def _photographs(session: Session, language: Language) -> _Lessons:
    """LLaVA-1.5's instructions, and the questions of the three benchmarks."""
    spec, place = session.spec, session.place
    assert place.data is not None
    assert spec.size is not None
    folder = readers.find(place.data)
    view = ViewTransform(spec.size)

    def picture(key: str | None) -> Tensor:
        if key is None:
            return torch.zeros(3, *view.size)
        return view({"image": read_image(Path(folder / key))})["image"]

    def sample(conversation: readers.Conversation) -> Sample:
        image, turns = conversation
        return _conversation(language, image, turns, _TOLD["paper"])

    return _Lessons(
        readers.conversations(folder, "align"),
        readers.conversations(folder, "instruct"),
        [question for benchmark in SCORERS for question in readers.questions(folder, benchmark)],
        sample,
        lambda keys: torch.stack([picture(key) for key in keys]),
        "GQA testdev balanced, POPE, VQAv2 val2014",
    )


def _moved(batch: Batch, device: torch.device) -> Batch:
    return {name: value.to(device) for name, value in batch.items()}
