"""Captions: up to four objects, the most prominent first, each as colour, class and place; then the surroundings."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from sakbench.data.miniworld.render import Rendered, object_areas
from sakbench.data.miniworld.rooms import INDOOR_CLASSES
from sakbench.data.miniworld.scenes import CLASSES, KINDS, Scene
from sakbench.data.miniworld.textures import COLOURS
from sakbench.errors import unknown

OBJECTS_TOLD = 4
CAPTION_LENGTH = 3 * OBJECTS_TOLD + 2
LARGE, SMALLEST = 0.08, 0.004  # shares of the image
PLACES = tuple(f"{size}-{side}" for size in ("large", "small") for side in ("left", "middle", "right"))
SURROUNDINGS = ("hills", "wall", "columns", "room")
VOCABULARY: tuple[str, ...] = (
    "",
    *COLOURS,
    *CLASSES[1:],
    *(name for name in INDOOR_CLASSES[1:] if name not in CLASSES and name not in SURROUNDINGS),
    *PLACES,
    *SURROUNDINGS,
)
_TOKENS = {word: token for token, word in enumerate(VOCABULARY)}


def class_names(kind: str) -> tuple[str, ...]:
    """The names of the semseg labels of a kind of scenes."""
    if kind not in KINDS:
        raise unknown("kind of miniworld scenes", kind, KINDS)
    return CLASSES if kind == "pascal" else INDOOR_CLASSES


def caption(scene: Scene, rendered: Rendered) -> NDArray[np.int16]:
    """Tokens (14,) int16, padded by 0: (colour, class, place) of each object told, then the ground's colour and the
    kind of surroundings. Objects that show less than 0.4% of the image are left out."""
    instance = rendered.instance
    size = instance.shape[0]
    areas = object_areas(scene, instance)
    words: list[str] = []
    for number in np.argsort(-areas, kind="stable")[:OBJECTS_TOLD]:
        share = areas[number] / instance.size
        if share < SMALLEST:
            break
        thing = scene.things[number - 1]
        middle = np.nonzero(instance == number)[1].mean() / size
        side = "left" if middle < 1 / 3 else "right" if middle > 2 / 3 else "middle"
        name = class_names(scene.kind)[thing.label]
        words += [thing.outfit.word, name, f"{'large' if share > LARGE else 'small'}-{side}"]
    words += [scene.backdrop.sheets[0].paint.word, scene.backdrop.name]
    tokens = np.zeros(CAPTION_LENGTH, dtype=np.int16)
    tokens[: len(words)] = [_TOKENS[word] for word in words]
    return tokens


def caption_text(tokens: Iterable[int]) -> str:
    """The words of a caption, without its padding."""
    return " ".join(VOCABULARY[token] for token in tokens if token)
