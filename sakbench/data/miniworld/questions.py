"""Questions about rendered scenes, from their captions and labels: relations, presence, and what else is to be seen.

GQA-like ones ask how two objects stand to each other, where one is and of what colour; POPE-like ones whether there is
an object of a class, yes as often as no for every scene, the no half of the time for the lookalike of something that is
there; VQA-like ones how many objects of a class are told of, what is behind, and what colour the ground has. A class is
asked about only where there is no doubt: it is named once in the caption, or shows nowhere in the labels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from sakbench.data.miniworld.captions import SURROUNDINGS, VOCABULARY
from sakbench.data.miniworld.scenes import CLASSES, LOOKALIKES
from sakbench.data.miniworld.splits import Split
from sakbench.data.questions.records import Question

VERSION = 1
SIDES = ("left", "middle", "right")
_PEOPLE = 10  # who answer as one, as VQAv2's scorer wants them
_NUMBERS = ("0", "1", "2", "3", "4")
_OTHERS = tuple(name for name in CLASSES[1:])


@dataclass(frozen=True)
class _Told:
    """An object of a caption."""

    colour: str
    name: str
    side: int


def words() -> tuple[str, ...]:
    """Every word that questions, answers and captions can hold, sorted."""
    templates = "is there a what colour the to left of right where how many are behind ground yes no middle"
    told = {word for name in VOCABULARY[1:] for word in name.split("-")}
    return tuple(sorted({*templates.split(), *told, *_NUMBERS}))


def caption_words(split: Split, row: int) -> str:
    """A scene's caption in words of its own: red cat large left blue dog small right green hills."""
    return " ".join(VOCABULARY[token].replace("-", " ") for token in split.captions[row] if token)


def questions(split: Split, row: int, seed: int = 0) -> list[Question]:
    """What is asked of scene `row` of a "pascal" split, the same for the same seed."""
    rng = np.random.default_rng([seed, row])
    told, ground, behind = _caption(split, row)
    there = {CLASSES[label] for label in np.unique(split.labels["semseg"][row])} - {"background"}
    found = [*_relations(told, rng), *_presence(told, there, rng), *_rest(told, there, ground, behind, rng)]
    return [Question(benchmark, str(row), text, answers) for benchmark, text, answers in found]


def _caption(split: Split, row: int) -> tuple[list[_Told], str, str]:
    names = [VOCABULARY[token] for token in split.captions[row] if token]
    *objects, ground, behind = names
    told = [
        _Told(colour, name, SIDES.index(place.split("-")[1]))
        for colour, name, place in zip(objects[::3], objects[1::3], objects[2::3], strict=True)
    ]
    assert behind in SURROUNDINGS
    return told, ground, behind


Asked = Iterator[tuple[str, str, tuple[str, ...]]]


def _relations(told: list[_Told], rng: np.random.Generator) -> Asked:
    """GQA-like: one of each kind that the scene bears."""
    single = _named_once(told)
    if single:
        one = single[rng.integers(len(single))]
        yield "gqa", f"what colour is the {one.name}", (one.colour,)
        one = single[rng.integers(len(single))]
        yield "gqa", f"where is the {one.name}", (SIDES[one.side],)
    pairs = [(a, b) for a in single for b in single if a.side != b.side]
    if pairs:
        a, b = pairs[rng.integers(len(pairs))]
        side = "left" if rng.random() < 0.5 else "right"
        truth = (a.side < b.side) == (side == "left")
        yield "gqa", f"is the {a.name} to the {side} of the {b.name}", ("yes" if truth else "no",)


def _presence(told: list[_Told], there: set[str], rng: np.random.Generator) -> Asked:
    """POPE-like: a class that is there, and one that is not."""
    present = [one.name for one in told]
    absent = [name for name in _OTHERS if name not in there]
    if not present or not absent:
        return
    yield "pope", f"is there a {present[rng.integers(len(present))]}", ("yes",)
    near = sorted({b for pair in LOOKALIKES for a in pair for b in pair - {a} if a in there and b in absent})
    chosen = near if near and rng.random() < 0.5 else absent
    yield "pope", f"is there a {chosen[rng.integers(len(chosen))]}", ("no",)


def _rest(told: list[_Told], there: set[str], ground: str, behind: str, rng: np.random.Generator) -> Asked:
    """VQA-like, answered by ten people at once."""
    yield "vqav2", "what is behind", (behind,) * _PEOPLE
    yield "vqav2", "what colour is the ground", (ground,) * _PEOPLE
    if told:
        name = told[rng.integers(len(told))].name
        count = sum(one.name == name for one in told)
        yield "vqav2", f"how many {name} are there", (str(count),) * _PEOPLE


def _named_once(told: list[_Told]) -> list[_Told]:
    names = [one.name for one in told]
    return [one for one in told if names.count(one.name) == 1]
