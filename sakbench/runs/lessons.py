"""What a language model learns about images and is asked about them: rendered scenes, or LLaVA-1.5's photographs."""

from collections.abc import Generator, Hashable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from sakbench import backbones, data
from sakbench.data.archives.files import read_image
from sakbench.data.miniworld import questions as rendered
from sakbench.data.questions import Question, Turn, readers
from sakbench.data.transforms import ViewTransform, WholeTransform
from sakbench.metrics.answers import BENCHMARKS
from sakbench.models.llava import Tower
from sakbench.runs.material import Batch
from sakbench.runs.session import Session
from sakbench.runs.spec import RunSpec
from sakbench.training import loader
from sakbench.training.order import rows_of_step
from sakbench.training.scenes import images_tensor

Phase = Literal["align", "instruct"]
Conversation = tuple[Hashable | None, Sequence[Turn]]  # an image, if there is one
_TOGETHER = 50  # scenes that are looked at at once


class Scenes:
    """Rendered scenes: captions first, then questions; asked are those of other scenes.

    What the frozen tower represents of them all is asked once: it does not change.
    """

    ending = ""  # of a question

    def __init__(self, spec: RunSpec, tower: Tower | None, device: torch.device) -> None:
        self.about = f"{spec.dataset} {spec.test_split} {spec.test_images}"
        self._seed = spec.seed
        splits = {
            "distill": data.load(spec.dataset, "distill", spec.train_images),
            spec.test_split: data.load(spec.dataset, spec.test_split, spec.test_images),
        }
        learned, tested = splits["distill"], splits[spec.test_split]
        captions: list[Conversation] = [
            (("distill", row), [Turn("", rendered.caption_words(learned, row))]) for row in range(spec.train_images)
        ]
        answered: list[Conversation] = [
            (("distill", row), [Turn(question.text, question.answers[0])])
            for row in range(spec.train_images)
            for question in rendered.questions(learned, row)
        ]
        self.conversations: dict[Phase, Sequence[Conversation]] = {"align": captions, "instruct": answered}
        self.asked = [
            Question(one.benchmark, (spec.test_split, row), one.text, one.answers)
            for row in range(spec.test_images)
            for one in rendered.questions(tested, row)
        ]
        size = spec.size[0] if spec.size else backbones.info(spec.backbone).image_size
        places = [(split, row) for split, scenes in splits.items() for row in range(len(scenes))]
        self._places = {place: number for number, place in enumerate(places)}
        self._known: Tensor | None = None
        if tower is not None:
            with torch.inference_mode():
                parts = [
                    tower.represent(
                        torch.cat(
                            [
                                images_tensor(splits[split], np.array([row]), size)
                                for split, row in places[first : first + _TOGETHER]
                            ]
                        ).to(device)
                    )
                    for first in range(0, len(places), _TOGETHER)
                ]
                self._known = torch.cat([part.half().cpu() for part in parts], dim=1)

    def learned(self, phase: Phase, batch_size: int, parts: int, start: int) -> Generator[tuple[Sequence[int], Batch]]:
        """Endless shuffled epochs from step `start` on: which conversations, and what is seen of their images."""
        step, chosen = start, self.conversations[phase]
        while True:
            rows = rows_of_step(len(chosen), batch_size, self._seed, step)
            for part in loader.shares(rows, parts):
                yield part.tolist(), self._seen([chosen[row][0] for row in part])
            step += 1

    def shown(self, groups: Sequence[Sequence[int]]) -> Iterator[Batch]:
        """What is seen of the images of some groups of questions."""
        for rows in groups:
            yield self._seen([self.asked[row].image for row in rows])

    def _seen(self, images: Sequence[Any]) -> Batch:
        if self._known is None:
            return {}
        return {"represented": self._known[:, [self._places[image] for image in images]].float()}


class Photographs:
    """LLaVA-1.5's instructions, and the questions of GQA, POPE and VQAv2; images are read by worker processes.

    As in LLaVA-1.5, captions are learned on the middles of images, everything else on whole images that are padded.
    """

    ending = "\nAnswer the question using a single word or phrase."
    about = "GQA testdev balanced, POPE random, popular and adversarial, VQAv2 val2014"

    def __init__(self, session: Session, *, seen: bool) -> None:
        spec, place = session.spec, session.place
        assert place.data is not None
        assert spec.size is not None
        self._seed, self._workers, self._seen, self._size = spec.seed, place.workers, seen, spec.size
        self._folder = readers.find(place.data)
        self.conversations: dict[Phase, Sequence[Conversation]] = {
            "align": readers.conversations(self._folder, "align"),
            "instruct": readers.conversations(self._folder, "instruct"),
        }
        self.asked = [question for benchmark in BENCHMARKS for question in readers.questions(self._folder, benchmark)]

    def learned(self, phase: Phase, batch_size: int, parts: int, start: int) -> Generator[tuple[Sequence[int], Batch]]:
        """Endless shuffled epochs from step `start` on: which conversations, and their images."""
        view = ViewTransform(self._size) if phase == "align" else WholeTransform(self._size)
        images = self._images([image for image, _ in self.conversations[phase]], view)
        for batch in loader.draw(images, batch_size, self._seed, start, parts=parts, workers=self._workers):
            yield batch.pop("row").tolist(), batch

    def shown(self, groups: Sequence[Sequence[int]]) -> Iterator[Batch]:
        """The images of some groups of questions."""
        images = self._images([question.image for question in self.asked], WholeTransform(self._size))
        for batch in loader.listed(images, groups, workers=self._workers):
            yield {name: value for name, value in batch.items() if name != "row"}

    def _images(self, images: Sequence[Any], view: ViewTransform | WholeTransform) -> "_Images":
        return _Images(self._folder, images, view, seen=self._seen)


@dataclass(frozen=True)
class _Images:
    """Image files by row, black where there is none; nothing but the row if none is `seen`."""

    folder: Path
    places: Sequence[str | None]
    view: ViewTransform | WholeTransform
    seen: bool

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, which: tuple[int, int]) -> dict[str, Any]:
        row, _ = which
        if not self.seen:
            return {"row": row}
        place = self.places[row]
        if place is None:
            return {"row": row, "image": torch.zeros(3, *self.view.size)}
        return {"row": row, "image": self.view({"image": read_image(self.folder / place)})["image"]}


def lessons_of(session: Session, tower: Tower | None) -> Scenes | Photographs:
    """Those of a run's scale. Raises UserError for files that are missing or others."""
    if session.spec.scale == "mini":
        return Scenes(session.spec, tower, session.device)
    return Photographs(session, seen=tower is not None)
