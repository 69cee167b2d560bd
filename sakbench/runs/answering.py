"""Runs of kind `answer`: a language model that sees through a frozen tower, LLaVA-1.5's way (paper Table 28)."""

from collections.abc import Generator, Sequence
from functools import partial

import torch
from torch import Tensor

from sakbench import backbones
from sakbench.data.questions import Question
from sakbench.metrics.answers import BENCHMARKS
from sakbench.models.llava import Llava, PlainTower, SakTower, Tower
from sakbench.models.parameters import parameter_count
from sakbench.models.processes import rank, total, world
from sakbench.models.sak import SAK, carry_over
from sakbench.runs import encoders, languages
from sakbench.runs.learning import grid_of
from sakbench.runs.lessons import Conversation, Phase, Photographs, Scenes, lessons_of
from sakbench.runs.material import Batch, Material
from sakbench.runs.scales import get as get_scale
from sakbench.runs.session import Learned, Session
from sakbench.training import loader
from sakbench.training.committee import moved
from sakbench.training.objectives import AnswerObjective

Lessons = Scenes | Photographs
MOST_TOKENS = {"mini": 8, "paper": 32}  # patches in each direction that the language model is given
LONGEST = {"mini": 2, "paper": 16}  # tokens of an answer
_TOLD = 2048  # tokens of a conversation, at most
_TOGETHER = 50  # rendered scenes that are asked about at once


def answer(session: Session) -> Learned:
    """Both phases, and the benchmarks' questions."""
    spec = session.spec
    assert spec.align is not None
    language = languages.load(spec.language)
    model = Llava(_tower(session), language)
    model.to(session.device)
    lessons = lessons_of(session, model.tower)
    from_nothing = spec.language == languages.MINI  # it must learn to speak, too
    seconds = 0.0
    phases: tuple[Phase, Phase] = ("align", "instruct")
    for phase, recipe in zip(phases, (spec.align, spec.recipe), strict=True):
        model.language.requires_grad_(from_nothing or phase == "instruct")
        if not any(parameter.requires_grad for parameter in model.parameters()):
            continue  # who is blind has no projector to align
        given = _material(session, phase, recipe.batch_size, lessons, language)
        seconds += session.train(AnswerObjective(model), given, recipe=recipe, phase=phase)
    model.eval()
    sums = _sums(session, model, language, lessons)
    metrics = [
        {
            "task": name,
            "metric": BENCHMARKS[name].metric,
            "value": BENCHMARKS[name].reduce(each.sum(0)),
            "unit": "%",
            "higher_is_better": True,
            "protocol": f"{BENCHMARKS[name].protocol}, {_count(lessons.asked, name)} questions of {lessons.about},"
            f" {spec.language}",
        }
        for name, each in sums.items()
    ]
    return Learned(metrics, seconds, {"parameters": parameter_count(model)}, sums=sums)


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


def _material(
    session: Session, phase: Phase, batch_size: int, lessons: Lessons, language: languages.Language
) -> Material:
    parts = loader.parts_of(batch_size, _at_once(session, batch_size))
    before = language.before(captions=phase == "align")
    said = _caption if phase == "align" else _conversation

    def training(start: int) -> Generator[Batch]:
        for rows, images in lessons.learned(phase, batch_size, parts, start):
            told = [said(language, lessons.conversations[phase][row]) for row in rows]
            pictured = [lessons.conversations[phase][row][0] is not None for row in rows]
            yield _batch(before, told, pictured) | images

    return Material(training, list, list, partial(moved, device=session.device), parts)


def _at_once(session: Session, otherwise: int) -> int:
    """How many images meet at once; at scale mini, where they are small, `otherwise`."""
    if session.spec.scale == "mini":
        return otherwise
    return session.place.images or get_scale(session.spec.scale).layouts[session.spec.kind].images


Told = tuple[list[int], list[bool]]  # the tokens behind the image, and which of them are learned


def _caption(language: languages.Language, conversation: Conversation) -> Told:
    """The caption alone, all of it learned."""
    tokens = [*language.encode(conversation[1][0].answered), *language.caption_end][:_TOLD]
    return tokens, [True] * len(tokens)


def _conversation(language: languages.Language, conversation: Conversation) -> Told:
    """Questions and answers; the answers, and the ends behind them, are learned."""
    image, turns = conversation
    tokens: list[int] = []
    learned: list[bool] = []
    for number, turn in enumerate(turns):
        asked = language.question(turn.asked, first=number == 0, pictured=image is not None)
        answered = [*language.encode(turn.answered), *language.end]
        tokens += [*asked, *answered]
        learned += [False] * len(asked) + [True] * len(answered)
    return tokens[:_TOLD], learned[:_TOLD]


def _batch(before: Sequence[int], told: Sequence[Told], pictured: Sequence[bool]) -> Batch:
    """Samples side by side, those that are shorter padded behind by -1."""
    longest = max(len(tokens) for tokens, _ in told)
    after = torch.full((len(told), longest), -1)
    learned = torch.zeros(len(told), longest, dtype=torch.bool)
    for row, (tokens, marks) in enumerate(told):
        after[row, : len(tokens)] = torch.tensor(tokens)
        learned[row, : len(marks)] = torch.tensor(marks)
    fronts = torch.tensor(before).expand(len(told), -1)
    return {"before": fronts, "after": after, "learned": learned, "pictured": torch.tensor(pictured)}


@torch.inference_mode()
def _sums(session: Session, model: Llava, language: languages.Language, lessons: Lessons) -> dict[str, Tensor]:
    """What each benchmark's number is made of, image by image in the order in which they are first asked about."""
    asked: Sequence[Question] = lessons.asked
    images = {name: dict.fromkeys(one.image for one in asked if one.benchmark == name) for name in BENCHMARKS}
    rows = {name: {image: row for row, image in enumerate(known)} for name, known in images.items() if known}
    sums = {name: _empty(name, len(known)) for name, known in rows.items()}
    before, longest = language.before(captions=False), LONGEST[session.spec.scale]
    groups = _of_one_length(language, asked, lessons.ending, _at_once(session, _TOGETHER))
    shown = lessons.shown([[row for row, _ in group] for group in groups])
    for group, seen in zip(groups, shown, strict=True):
        told = [(tokens, [False] * len(tokens)) for _, tokens in group]
        batch = moved(_batch(before, told, [True] * len(group)) | seen, session.device)
        with session.computing:
            known = batch.get("represented")
            if known is None and model.tower is not None:
                known = model.tower.represent(batch["image"])
            said = model.answer(
                batch["before"], known, batch["pictured"], batch["after"], end=language.end[-1], most=longest
            )
        for (row, _), tokens in zip(group, said, strict=True):
            one = asked[row]
            counts = BENCHMARKS[one.benchmark].counts(language.decode(tokens), one.answers, one.kind)
            sums[one.benchmark][rows[one.benchmark][one.image]] += torch.tensor(counts, dtype=torch.float64)
    return {name: total(each.to(session.device)).cpu() for name, each in sums.items()}


def _empty(benchmark: str, images: int) -> Tensor:
    return torch.zeros(images, len(BENCHMARKS[benchmark].counts("", [""], "")), dtype=torch.float64)


def _of_one_length(
    language: languages.Language, asked: Sequence[Question], ending: str, most: int
) -> list[list[tuple[int, list[int]]]]:
    """This process's share of the questions by row, in groups of at most `most` that have as many tokens."""
    open_ones: dict[int, list[tuple[int, list[int]]]] = {}
    groups = []
    for row in range(rank(), len(asked), world()):
        tokens = language.question(f"{asked[row].text}{ending}", first=True, pictured=True)
        group = open_ones.setdefault(len(tokens), [])
        group.append((row, tokens))
        if len(group) == most:
            groups.append(open_ones.pop(len(tokens)))
    return [*groups, *open_ones.values()]


def _count(asked: Sequence[Question], benchmark: str) -> int:
    return sum(one.benchmark == benchmark for one in asked)
