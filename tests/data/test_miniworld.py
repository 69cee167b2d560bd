"""The rendered scenes: their geometry against closed forms, their labels against each other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sakbench.data import miniworld as world
from sakbench.data.miniworld.finishes import dress
from sakbench.data.miniworld.geometry import (
    Box,
    Placement,
    Quadric,
    RoundedBox,
    Shape,
    Stroke,
    Torus,
    draw,
    frame,
    rays,
    turn_x,
    turn_y,
    turn_z,
)
from sakbench.data.miniworld.scenes import LOOKALIKES
from sakbench.data.miniworld.textures import PALETTE
from sakbench.errors import UserError

KINDS = ("pascal", "nyud")
indices = st.integers(0, 10**6)


def scene(index: int, kind: str = "pascal") -> world.Scene:
    return world.sample_scene(11, index, kind)


def picture(shape: Shape, size: int = 96, field: float = 0.4) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points (3, n), normals (3, n) and mask (size, size) of a shape alone."""
    x, y = rays(size, field)
    depth = np.full((size, size), np.inf, dtype=np.float32)
    ids = np.zeros((size, size), dtype=np.uint16)
    with np.errstate(all="ignore"):
        draw(shape, 1, depth, ids, x, y, field)
        hit = ids == 1
        points = np.stack([x * depth, y * depth, -depth])[:, hit].astype(np.float32)
        return points, shape.normal(points), hit


AXES = turn_z(0.5) @ turn_x(0.7) @ turn_y(-0.4)
CENTRE = np.array([0.3, -0.2, -5.0])
SOLIDS: dict[str, Shape] = {
    "ellipsoid": Quadric(frame((1.0, 0.7, 0.5), CENTRE, AXES)),
    "cylinder": Quadric(frame((0.6, 0.8, 0.6), CENTRE, AXES), (1.0, 0.0, 0.0)),
    "cone": Quadric(frame((0.8, 1.0, 0.8), CENTRE, AXES), (0.25, -0.5, 0.25)),
    "waist": Quadric(frame((0.8, 1.0, 0.8), CENTRE, AXES), (0.3, 0.2, 0.5)),
    "box": Box(frame((0.8, 0.5, 0.6), CENTRE, AXES)),
    "torus": Torus(frame((0.8, 0.8, 0.8), CENTRE, AXES), 0.35),
    "rounded box": RoundedBox(frame((1, 1, 1), CENTRE, AXES), (0.9, 0.5, 0.6), 0.2),
}
LIMB = Stroke(np.array([-0.3, -0.5, -4.6]), np.array([1.0, 0.2, -5.3]), 0.3, 0.15)
SHAPES: dict[str, Shape] = {**SOLIDS, "limb": LIMB}


@pytest.mark.parametrize("name", SHAPES)
def test_normals_are_those_of_the_surface_that_the_depth_describes(name: str) -> None:
    shape = SHAPES[name]
    points, normals, hit = picture(shape)
    assert hit.sum() > 400
    np.testing.assert_allclose((normals**2).sum(0), 1, atol=1e-4)
    towards = (normals * points).sum(0) < 0.25 * np.abs(points[2])
    assert towards.mean() > 0.995, "a visible surface faces the camera, a few pixels of its rim apart"
    # neighbours along a row differ by a tangent: it must be orthogonal to the normal, creases apart
    full = np.full((3, *hit.shape), np.nan, dtype=np.float32)
    across = full.copy()
    full[:, hit], across[:, hit] = points, normals
    step = full[:, 1:, :] - full[:, :-1, :]
    step = step / np.sqrt((step**2).sum(0))
    slant = np.abs((step * (across[:, 1:, :] + across[:, :-1, :]) / 2).sum(0))
    assert np.nanquantile(slant, 0.9) < (0.1 if name == "limb" else 0.05)  # a limb is only nearly in perspective


PLACE = Placement(turn_y(0.6), 1.3, np.array([0.2, 0.1, -1.5]))


@pytest.mark.parametrize("name", SOLIDS)
def test_placing_a_solid_turns_its_normals(name: str) -> None:
    points, normals, _ = picture(SOLIDS[name].placed(PLACE))
    back = PLACE.to_thing(points)
    np.testing.assert_allclose(SOLIDS[name].normal(back), PLACE.rotation.T @ normals, atol=5e-3)


@pytest.mark.parametrize("name", SHAPES)
def test_a_shape_is_seen_within_its_corners_and_bounds(name: str) -> None:
    moved = SHAPES[name].placed(PLACE)
    points, _, _ = picture(moved, size=160, field=1.0)
    assert points.shape[1] > 100
    assert (moved.corners().min(1) - 0.02 <= points.min(1)).all()
    assert (points.max(1) <= moved.corners().max(1) + 0.02).all()
    left, right, low, high = moved.bounds()
    across, up = points[:2] / -points[2]
    assert left <= across.min() + 1e-4 and across.max() <= right + 1e-4
    assert low <= up.min() + 1e-4 and up.max() <= high + 1e-4


def test_a_ball_shows_the_convention_of_the_normals() -> None:
    points, normals, hit = picture(Quadric(frame((1, 1, 1), np.array([0, 0, -4.0]))))
    x, y, z = normals
    np.testing.assert_allclose(normals, points - np.array([[0], [0], [-4.0]]), atol=1e-4)
    rows, columns = np.nonzero(hit)
    assert (x[columns < 40] < 0).all() and (x[columns > 56] > 0).all(), "x points right"
    assert (y[rows < 40] > 0).all() and (y[rows > 56] < 0).all(), "y points up"
    assert (z > 0).all(), "z points towards the camera"


def test_a_limb_that_does_not_taper_is_a_capsule() -> None:
    start, end = np.array([-0.6, -0.3, -5.0]), np.array([0.7, 0.4, -5.0])
    points, normals, hit = picture(Stroke(start, end, 0.3, 0.3))
    axis = end - start
    along = np.clip((points.T - start) @ axis / (axis @ axis), 0, 1)
    foot = start[:, None] + axis[:, None] * along
    assert hit.sum() > 400
    np.testing.assert_allclose(np.linalg.norm(points - foot, axis=0), 0.3, atol=0.035)
    np.testing.assert_allclose((normals**2).sum(0), 1, atol=1e-4)


@settings(max_examples=12, deadline=None)
@given(indices, st.sampled_from(KINDS))
def test_labels_agree_with_each_other(index: int, kind: str) -> None:
    sampled = scene(index, kind)
    rendered = world.render(sampled)
    arrays = world.scene_arrays(sampled, rendered)
    np.testing.assert_allclose((rendered.normals**2).sum(0), 1, atol=1e-4)
    assert np.isfinite(rendered.depth).all() and (rendered.depth > 0).all()
    for semseg, parsing in ((rendered.semseg, rendered.parsing), (arrays["semseg"], arrays["parsing"])):
        assert ((parsing > 0) == (semseg == world.CLASSES.index("person"))).all() or kind == "nyud"
        assert semseg.max() < len(world.class_names(kind)) and parsing.max() < len(world.PARTS)
    for coarse, fine in (("semseg", "instance"), ("instance", "part")):
        owners = {(int(f), int(c)) for f, c in zip(arrays[fine].ravel(), arrays[coarse].ravel(), strict=True)}
        if (coarse, fine) == ("semseg", "instance"):
            owners = {pair for pair in owners if pair[0]}  # the surroundings of a room have several classes
        assert len(owners) == len({f for f, _ in owners}), f"every {fine} lies in one {coarse}"
    changes = np.zeros((64, 64), dtype=bool)
    changes[:, :-1] |= np.diff(arrays["instance"].astype(int), axis=1) != 0
    changes[:-1] |= np.diff(arrays["instance"].astype(int), axis=0) != 0
    assert (arrays["boundary"][changes] == 1).all(), "instances end in a boundary"
    if kind == "pascal":
        assert arrays["dominant"] in arrays["semseg"][arrays["saliency"] == 1]
        assert (arrays["semseg"][arrays["saliency"] == 1] > 0).all()


def test_boundaries_by_hand() -> None:
    regions = np.array([[1, 1, 2], [1, 1, 2], [3, 3, 3]])
    np.testing.assert_array_equal(world.boundaries(regions), [[0, 1, 0], [1, 1, 1], [0, 0, 0]])


@settings(max_examples=5, deadline=None)
@given(indices, st.sampled_from(KINDS))
def test_a_scene_is_determined_by_seed_index_and_kind(index: int, kind: str) -> None:
    first, second = world.render(scene(index, kind)), world.render(scene(index, kind))
    for name in ("image", "semseg", "parsing", "normals", "depth", "part"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    other = world.render(world.sample_scene(12, index, kind))
    assert (first.image != other.image).mean() > 0.5


@pytest.mark.parametrize(("old", "new"), [tuple(sorted(pair)) for pair in LOOKALIKES])
def test_a_counterfactual_changes_the_look_inside_its_mask_and_nothing_else(old: str, new: str) -> None:
    found = 0
    for index in range(200):
        before = scene(index)
        if not any(thing.name == old for thing in before.things):
            continue
        found += 1
        a, b = world.render(before), world.render(world.counterfactual(before, {old: new}))
        for name in ("normals", "depth", "instance", "part", "parsing", "saliency", "boundary"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
        mask = a.semseg == world.CLASSES.index(old)
        np.testing.assert_array_equal(a.image[~mask], b.image[~mask])
        np.testing.assert_array_equal(np.where(mask, world.CLASSES.index(new), a.semseg), b.semseg)
        if mask.sum() > 300:
            assert (a.image[mask] != b.image[mask]).mean() > 0.2
        back = world.render(world.counterfactual(world.counterfactual(before, {old: new}), {new: old}))
        if not any(thing.name == new for thing in before.things):
            np.testing.assert_array_equal(back.image, a.image)
        if found == 5:
            return
    pytest.fail(f"no five scenes with a {old}")


def test_only_lookalikes_can_be_swapped() -> None:
    with pytest.raises(UserError, match=r"cat cannot become a tree.*cat/dog"):
        world.counterfactual(scene(0), {"cat": "tree"})
    with pytest.raises(UserError, match="did you mean dog"):
        world.counterfactual(scene(0), {"cat": "dogg"})


def test_a_caption_tells_what_shows_and_where() -> None:
    told = 0
    for index in range(30):
        sampled = scene(index)
        rendered = world.render(sampled)
        words = world.caption_text(world.caption(sampled, rendered)).split()
        objects, surroundings = words[:-2], words[-2:]
        assert surroundings == [sampled.backdrop.sheets[0].paint.word, sampled.backdrop.name]
        areas = []
        for colour, name, place in zip(objects[::3], objects[1::3], objects[2::3], strict=True):
            numbers = [i for i, thing in enumerate(sampled.things, start=1) if thing.name == name and thing.label]
            shown = [rendered.instance == i for i in numbers if sampled.things[i - 1].outfit.word == colour]
            sides = {"left": (0, 0.34), "middle": (0.33, 0.67), "right": (0.66, 1)}
            low, high = sides[place.split("-")[1]]
            fitting = [mask for mask in shown if mask.any() and low <= np.nonzero(mask)[1].mean() / 128 <= high]
            assert fitting, f"{colour} {name} {place} is not in scene {index}"
            areas.append(max(mask.mean() for mask in fitting))
            told += 1
        assert not areas or areas[0] >= max(areas) - 1e-9, "the most prominent comes first"
    assert told > 40


@pytest.mark.parametrize("name", ["can", "vase", "ring", "cone", "cat", "dog", "melon", "tree"])
def test_the_colour_of_a_caption_is_the_colour_of_most_of_the_paint(name: str) -> None:
    words = np.array(list(PALETTE.values()))
    points = np.random.default_rng(0).uniform(-1, 1, (3, 4000)).astype(np.float32)
    right = 0
    for seed in range(40):
        outfit = dress(name, np.random.default_rng(seed))
        colours = outfit["body"].paint.albedo(points)
        nearest = np.linalg.norm(colours.T[:, None] - words, axis=2).argmin(1)
        right += list(PALETTE)[np.bincount(nearest, minlength=len(words)).argmax()] == outfit.word
    assert right >= 32, "shades of brown, grey and black may be taken for each other, now and then"


def test_the_world_is_as_full_of_people_and_things_as_it_claims() -> None:
    rendered = [world.render(scene(index), size=64) for index in range(150)]
    background = np.mean([(r.semseg == 0).mean() for r in rendered])
    people = np.mean([(r.parsing > 0).any() for r in rendered])
    assert 0.48 < background < 0.62 and 0.42 < people < 0.68
    seen = np.bincount(np.concatenate([np.unique(r.semseg) for r in rendered]), minlength=len(world.CLASSES))
    assert (seen > 5).all()


def test_rooms_are_in_metres_and_furnished() -> None:
    rendered = [world.render(scene(index, "nyud"), size=64) for index in range(60)]
    depths = np.stack([r.depth for r in rendered])
    assert np.quantile(depths, 0.001) > 0.4 and np.quantile(depths, 0.999) < 10
    assert 2 < depths.mean() < 5
    seen = np.bincount(np.concatenate([np.unique(r.semseg) for r in rendered]), minlength=len(world.INDOOR_CLASSES))
    assert (seen > 2).all()


def test_the_size_of_the_picture_changes_its_sampling_only() -> None:
    sampled = replace(scene(5), sensor=replace(scene(5).sensor, noise=0.0, soft=False))
    small, large = world.render(sampled, 64), world.render(sampled, 128)
    assert (small.semseg == large.semseg[::2, ::2]).mean() > 0.95
    mean = large.image.reshape(64, 2, 64, 2, 3).mean((1, 3))
    assert np.abs(mean - small.image).mean() < 12
