"""Bias against texture and shape: does a frozen feature follow what an object wears, or its silhouette?

In miniworld a cat and a dog have one geometry and differ in texture only; so do a ball and a melon, a box and a crate.
Each object is seen twice, in the same scene, once in each texture. A linear classifier on its mean token is asked for
the silhouette (animal, sphere, box) and, within each, for the texture. Both are put on one scale: 0 is chance, 100 is
always right. Bars are 95% intervals, by a bootstrap over scenes.

python studies/texture_shape.py --output results/texture_shape.png
"""

from collections.abc import Sequence
from dataclasses import dataclass

import common
import frozen
import numpy as np
from matplotlib.figure import Figure

from sakbench.analysis.norm_maps import shares
from sakbench.analysis.objects import interval, linear_hits, object_vectors
from sakbench.data.miniworld.pairs import Pairs, pairs
from sakbench.plots import figures

LOOKALIKES = {"animal": ("cat", "dog"), "sphere": ("ball", "melon"), "box": ("box", "crate")}
QUESTIONS = ("silhouette", "texture")


@dataclass(frozen=True)
class Answer:
    """Of one model: hits per question (0 or 1 for each object), and how far a vector moves with its texture."""

    hits: dict[str, np.ndarray]
    moved: float


def answers(train: dict[str, Pairs], test: dict[str, Pairs]) -> dict[str, Answer]:
    """What linear classifiers make of each model's last level."""
    found = {}
    for model in frozen.MODELS:
        learned, asked = ({name: _both(model, one) for name, one in part.items()} for part in (train, test))
        kinds = [_stacked(part) for part in (learned, asked)]
        silhouette = linear_hits(*kinds[0], *kinds[1])
        texture = [linear_hits(*_textures(learned[n]), *_textures(asked[n])) for n in LOOKALIKES]
        found[model] = Answer(
            {"silhouette": silhouette, "texture": np.concatenate(texture)}, moved_by_texture(list(asked.values()))
        )
    return found


def moved_by_texture(kinds: Sequence[np.ndarray]) -> float:
    """How far vectors move with their texture, in units of the distance between two objects; kinds (2, n, d) each.

    Both are root mean squares over all objects, so independent vectors give 1.
    """
    both = np.concatenate(kinds, axis=1)
    apart = ((both[1] - both[0]) ** 2).sum(1).mean()
    spread = 2 * both.var(1, ddof=1).sum(1).mean()
    return float(np.sqrt(apart / spread))


def above_chance(right: np.ndarray | float, choices: int) -> np.ndarray | float:
    """Accuracy (0 to 1) on a scale where 0 is chance among that many choices and 100 is always right."""
    return 100 * (right - 1 / choices) / (1 - 1 / choices)


def _both(model: str, of: Pairs) -> np.ndarray:
    """The vectors of each object in its two textures, (2, n, d)."""
    maps = [frozen.level_maps(model, pictures)[-1] for pictures in (of.before, of.after)]
    share = shares(of.mask, maps[0].shape[-2:])
    return np.stack([object_vectors(one, share) for one in maps])


def _stacked(kinds: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """All vectors and their silhouettes."""
    vectors = np.concatenate([both.reshape(-1, both.shape[-1]) for both in kinds.values()])
    return vectors, np.repeat(list(kinds), [2 * both.shape[1] for both in kinds.values()])


def _textures(both: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The vectors of one silhouette and their textures."""
    return both.reshape(-1, both.shape[-1]), np.repeat([0, 1], both.shape[1])


def study(options: common.Options) -> Figure:
    """Print the numbers; the figure shows the two questions beside each other."""
    train, test = (
        {name: pairs(*classes, split, count) for name, classes in LOOKALIKES.items()}
        for split, count in (("train", options.train), ("test", options.count))
    )
    found = answers(train, test)
    count = options.count
    groups = np.concatenate([np.tile(one.scene, 2) for one in test.values()])
    choices = dict(zip(QUESTIONS, (len(LOOKALIKES), 2), strict=True))
    points = {
        model: (
            [above_chance(answer.hits[question].mean(), choices[question]) for question in QUESTIONS],
            [
                [above_chance(end, choices[question]) for end in interval(answer.hits[question], groups)]
                for question in QUESTIONS
            ],
        )
        for model, answer in found.items()
    }
    frozen.print_numbers(
        f"Last level's tokens of {len(LOOKALIKES)} x {count} objects, each in two textures",
        [*(f"{question}\nabove chance %" for question in QUESTIONS), "moved by\nits texture"],
        {
            model: [*(f"{value:.0f}" for value in points[model][0]), f"{answer.moved:.2f}"]
            for model, answer in found.items()
        },
        "moved by its texture: distance between an object's vectors in its two textures, in units of that between two"
        " objects",
    )
    return figures.points(
        QUESTIONS, points, ylabel="above chance (%); 100: always right", joined=False, reference=(0, "chance")
    )


def main(words: Sequence[str] | None = None) -> None:
    options = common.parser(__doc__, "results/texture_shape.png", store=False)
    for name, default, what in (("train", 150, "to learn from"), ("count", 100, "to be asked")):
        options.add_argument(
            f"--{name}", type=common.at_least(2), default=default, help=f"pairs per silhouette {what} (%(default)s)"
        )
    common.draw(options, study, words)


if __name__ == "__main__":
    main()
