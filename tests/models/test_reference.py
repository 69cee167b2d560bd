"""The authors' files against the reference model, written here with their names, one small module at a time."""

import pickle
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from sakbench.backbones.encoder import Encoder
from sakbench.errors import UserError
from sakbench.models import SAK, carry_over, load_checkpoint, reference

OURS = {
    "semseg": "semseg",
    "human_parts": "parsing",
    "sal": "saliency",
    "normals": "normals",
    "edge": "boundary",
    "depth": "depth",
}
PASCAL = {"semseg": 21, "human_parts": 7, "sal": 2, "normals": 3, "edge": 1}
NYUD = {"edge": 1, "depth": 1, "semseg": 40, "normals": 3}
WIDTHS = {"dinov2": 32, "clip": 48, "sam": 40}


class Adapter(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.down, self.up = nn.Linear(dim, dim // 4), nn.Linear(dim // 4, dim)
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x):
        return x + self.scale * self.up(F.gelu(self.down(x)))


class Router(nn.Module):
    def __init__(self, dim, experts):
        super().__init__()
        mlp = nn.Sequential(
            nn.Linear(dim, dim // 2), nn.LayerNorm(dim // 2), nn.GELU(), nn.Linear(dim // 2, 2 * experts)
        )
        self.router = nn.ModuleDict({"module": mlp})

    def forward(self, tokens):
        return self.router["module"](tokens).mean(1).chunk(2, dim=1)[0].softmax(1)


class Backbone(nn.Module):
    def __init__(self, vit, teachers, tasks, routers):
        super().__init__()
        dim, depth = vit.embed_dim, len(vit.blocks)
        self.blocks = [depth * k // 4 - 1 for k in (1, 2, 3, 4)]
        self.teachers, self.tasks = list(teachers), list(tasks)
        vit.norm = vit.head = nn.Identity()
        self.vit = vit
        self.tsap = nn.ModuleDict({t: nn.ModuleList(Adapter(dim) for _ in range(depth + 1)) for t in teachers})
        pairs = list(product(self.blocks, teachers))
        self.out_norms = nn.ModuleDict({f"{b}_{t}": nn.LayerNorm(dim) for b, t in pairs})
        self.ts_aligners = nn.ModuleDict(
            {f"{b}_{t}": nn.Linear(dim, teachers[t]) for b, t in pairs if teachers[t] != dim}
        )
        routed = product(self.blocks, tasks) if routers else ()
        self.mor = nn.ModuleDict({f"{b}_{task}": Router(dim, len(teachers) + 1) for b, task in routed})

    def experts(self, images):
        """Per level block the stem's tokens and each teacher's path."""
        x = self.vit._pos_embed(self.vit.patch_embed(images))
        paths = {t: self.tsap[t][0](x) for t in self.teachers}
        found = {}
        for index, block in enumerate(self.vit.blocks):
            x = block(x)
            paths = {t: self.tsap[t][index + 1](path + x) for t, path in paths.items()}
            if index in self.blocks:
                normed = [self.out_norms[f"{index}_{t}"](path[:, 1:]) for t, path in paths.items()]
                found[index] = [x[:, 1:], *normed]
        return found

    def forward(self, images):
        found = self.experts(images)
        maps = {task: [] for task in self.tasks}
        for task, (block, experts) in product(self.tasks, found.items()):
            weights = [1.0] * len(experts)
            if self.mor:
                weights = self.mor[f"{block}_{task}"](experts[0]).T[..., None, None]
            fused = sum(weight * expert for weight, expert in zip(weights, experts, strict=True))
            maps[task].append(self.as_map(fused))
        return maps

    def aligned(self, images):
        return {
            t: [
                self.as_map(self.ts_aligners[f"{b}_{t}"](e[i + 1]) if f"{b}_{t}" in self.ts_aligners else e[i + 1])
                for b, e in self.experts(images).items()
            ]
            for i, t in enumerate(self.teachers)
        }

    def as_map(self, tokens):
        rows, columns = self.vit.patch_embed.grid_size
        return tokens.transpose(1, 2).reshape(len(tokens), -1, rows, columns)


class Head(nn.Module):
    def __init__(self, dim, channels):
        super().__init__()
        self.linears = nn.ModuleList(nn.Linear(dim, dim // 4) for _ in range(4))
        self.linear_fuse = nn.Sequential(nn.Conv2d(dim, dim, 3, padding=1), nn.BatchNorm2d(dim), nn.GELU())
        self.last_conv = nn.Conv2d(dim, channels, 1)

    def forward(self, maps, size):
        quarter = (size[0] // 4, size[1] // 4)
        small = [
            F.interpolate(linear(m.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), quarter, mode="bilinear")
            for linear, m in zip(self.linears, maps, strict=True)
        ]
        return F.interpolate(self.last_conv(self.linear_fuse(torch.cat(small, 1))), size, mode="bilinear")


class Reference(nn.Module):
    def __init__(self, size, *, dim=32, depth=4, heads=2, patch=8, teachers=WIDTHS, tasks=PASCAL, routers=True):
        super().__init__()
        vit = VisionTransformer(size, patch, embed_dim=dim, depth=depth, num_heads=heads, num_classes=0)
        self.backbone = Backbone(vit, teachers, tasks, routers)
        self.heads = nn.ModuleDict({task: Head(dim, channels) for task, channels in tasks.items()})
        self.size = size
        for name, tensor in self.state_dict().items():  # away from ones and zeros, whose mistakes do not show
            if tensor.is_floating_point():
                tensor.normal_(std=0.3)
                if name.endswith("running_var"):
                    tensor.square_().add_(0.1)
        self.eval()

    def forward(self, images):
        return {task: self.heads[task](maps, self.size) for task, maps in self.backbone(images).items()}


def wide(*models):
    return [model.double() for model in models]


def assert_same_outputs(ours, theirs):
    """Every task and every teacher's aligned maps, in double precision."""
    wide(ours, theirs)
    images = torch.randn(2, 3, *theirs.size, dtype=torch.float64)
    logits = theirs(images)
    found = ours(images)
    assert {OURS.get(task, task) for task in logits} == set(found)
    for task, expected in logits.items():
        torch.testing.assert_close(found[OURS.get(task, task)], expected, rtol=1e-9, atol=1e-9)
    maps = ours.student_maps(ours.represent(images))
    for teacher, levels in theirs.backbone.aligned(images).items():
        for mine, expected in zip(maps[reference.TEACHERS.get(teacher, teacher)], levels, strict=True):
            torch.testing.assert_close(mine, expected, rtol=1e-9, atol=1e-9)


CASES = {
    "pascal": {"size": (32, 32)},
    "nyud, not square": {"size": (32, 48), "tasks": NYUD},
    "twelve blocks, patch 16": {"size": (64, 64), "depth": 12, "patch": 16, "teachers": {"dinov2": 24, "sam": 32}},
    "width 64, one teacher, one task": {"size": (32, 32), "dim": 64, "teachers": {"clip": 48}, "tasks": {"depth": 1}},
    "heads of their own": {"size": (32, 32), "heads": 4},
    "another teacher between": {"size": (32, 32), "teachers": {"dinov2": 32, "clip": 32, "radio": 40}},
    "without routers": {"size": (32, 32), "routers": False},
    "stage 1": {"size": (32, 32), "tasks": {}},
}


@pytest.mark.parametrize("case", CASES)
def test_the_same_function(case):
    torch.manual_seed(0)
    given = CASES[case]
    theirs = Reference(**given)
    heads = None if given.get("dim") == 64 and "heads" not in given else given.get("heads", 2)
    if given.get("dim") == 64:
        theirs = Reference(**given, heads=1)
    loaded = reference.read(theirs.state_dict(), None if "square" not in case else given["size"], heads)
    assert (loaded.unused, loaded.missing, loaded.ignored) == ((), (), ())
    assert len(loaded.used) == len(theirs.state_dict())
    assert not loaded.model.training
    assert_same_outputs(loaded.model, theirs)


def test_experts_are_in_their_order_whatever_the_files():
    torch.manual_seed(0)
    theirs = Reference((32, 32), teachers={"dinov2": 32, "clip": 48, "sam": 40, "radio": 36})
    names = ["radio", "sam", "clip", "dinov2"]
    state = theirs.state_dict()
    shuffled = {key: state[key] for name in names for key in state if f".{name}." in key or f"_{name}." in key}
    model = reference.load(shuffled | state, num_heads=2)
    assert list(model.teachers.items()) == [("DINOv2", 32), ("CLIP", 48), ("SAM", 40), ("radio", 36)]
    assert_same_outputs(model, theirs)


@pytest.mark.parametrize("form", ["bare", "wrapped", "ddp", "without backbone", "safetensors"])
def test_every_form_of_file(form, tmp_path):
    torch.manual_seed(0)
    theirs = Reference((32, 32), tasks={} if form == "without backbone" else PASCAL)
    state = dict(theirs.state_dict())
    path = tmp_path / ("model.safetensors" if form == "safetensors" else "model.pth")
    if form == "ddp":
        state = {f"module.{key}": value for key, value in state.items()}
    if form == "without backbone":
        state = {key.removeprefix("backbone."): value for key, value in state.items()}
    if form == "safetensors":
        save_file(state, path)
    elif form == "bare":
        torch.save(state, path)
    else:
        state["module.backbone.vit.norm.weight" if form == "ddp" else "vit.norm.weight"] = torch.ones(32)
        optimizer = torch.optim.AdamW(theirs.parameters()).state_dict()
        torch.save({"model": state, "optimizer": optimizer, "scheduler": {"gamma": 0.9}, "iter": 40000}, path)
    loaded = reference.read(path, num_heads=2)
    assert loaded.progress == ({"iter": 40000} if form in ("wrapped", "ddp", "without backbone") else {})
    assert loaded.ignored == (("vit.norm.weight",) if loaded.progress else ())
    assert not loaded.unused
    assert_same_outputs(reference.load(path, num_heads=2), theirs)


def test_safetensors_loses_the_order_of_unknown_teachers(tmp_path):
    save_file(Reference((32, 32), teachers={"theia": 32, "radio": 32}).state_dict(), tmp_path / "model.safetensors")
    with pytest.raises(UserError, match="order of its teachers"):
        reference.load(tmp_path / "model.safetensors", num_heads=2)


def test_another_image_size_resizes_the_position_embedding_alone():
    torch.manual_seed(0)
    state = Reference((32, 32)).state_dict()
    stored, resized = reference.load(state, num_heads=2), reference.load(state, (48, 64), num_heads=2)
    assert resized.stem.grid == (6, 8)
    for name, value in stored.state_dict().items():
        if name != "stem.vit.pos_embed":
            assert torch.equal(resized.state_dict()[name], value)
    before = stored.stem.vit.pos_embed[:, 1:].unflatten(1, (4, 4)).permute(0, 3, 1, 2)
    after = resized.stem.vit.pos_embed[:, 1:].unflatten(1, (6, 8)).permute(0, 3, 1, 2)
    torch.testing.assert_close(after, F.interpolate(before, (6, 8), mode="bicubic"))
    assert torch.equal(resized.stem.vit.pos_embed[:, 0], stored.stem.vit.pos_embed[:, 0])
    wide_file = Reference((32, 48)).state_dict()
    with pytest.raises(UserError, match="24 patch tokens, which form no square"):
        reference.load(wide_file, (64, 64), num_heads=2)
    assert reference.load(wide_file, (64, 64), num_heads=2, grid=(4, 6)).stem.grid == (8, 8)


def test_there_and_back_changes_nothing():
    torch.manual_seed(0)
    stem = Encoder(VisionTransformer(32, 8, embed_dim=32, depth=4, num_heads=2, num_classes=0))
    teachers = {"SAM": 40, "mine": 24, "CLIP": 32, "DINOv2": 48}  # not their order
    model = SAK(stem, teachers, {"depth": 1, "parsing": 7, "boundary": 1}).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    theirs = Reference(
        (32, 32),
        teachers={"dinov2": 48, "clip": 32, "sam": 40, "mine": 24},
        tasks={"depth": 1, "human_parts": 7, "edge": 1},
    )
    state = reference.state_dict(model)
    theirs.load_state_dict(state)  # strict: exactly their keys and shapes
    assert_same_outputs(model, theirs)
    again = reference.load(state, num_heads=2)
    back = reference.state_dict(again)
    assert state.keys() == back.keys()
    assert all(torch.equal(state[key], back[key]) for key in state)
    for part in (SAK(stem, teachers, adapter_paths=False, routers=False),):
        with pytest.raises(UserError, match="with adapter paths"):
            reference.state_dict(part)


def test_stage_1_starts_a_stage_2():
    torch.manual_seed(0)
    stage1 = reference.load(Reference((32, 32), tasks={}).state_dict(), num_heads=2)
    stem = Encoder(VisionTransformer((48, 64), 8, embed_dim=32, depth=4, num_heads=2, num_classes=0))
    student = SAK(stem, {"DINOv2": 32, "CLIP": 48, "SAM": 40}, {"semseg": 5})
    carry_over(stage1.state_dict(), student)
    for name, value in stage1.state_dict().items():
        if name != "stem.vit.pos_embed":
            assert torch.equal(student.state_dict()[name], value)


def test_keys_unused_and_missing_are_reported():
    state = dict(Reference((32, 32)).state_dict())
    state["backbone.extra.weight"] = torch.ones(3)
    del state["heads.sal.linears.2.bias"], state["backbone.tsap.clip.3.scale"]
    loaded = reference.read(state, num_heads=2)
    assert loaded.unused == ("extra.weight",)
    assert set(loaded.missing) == {"heads.sal.linears.2.bias", "tsap.clip.3.scale"}
    with pytest.raises(UserError, match=r"it lacks .*tsap\.clip\.3\.scale"):
        reference.load(state, num_heads=2)
    state = {**Reference((32, 32)).state_dict(), "backbone.extra.weight": torch.ones(3)}
    with pytest.raises(UserError, match=r"beside what SAK needs, extra\.weight"):
        reference.load(state, num_heads=2)


class Bomb:
    def __reduce__(self):
        return (print, ("this code ran",))


def test_bad_files_are_refused(tmp_path, capsys):
    good = Reference((32, 32)).state_dict()
    torch.save(good, tmp_path / "whole.pth")
    content = (tmp_path / "whole.pth").read_bytes()
    (tmp_path / "truncated.pth").write_bytes(content[: len(content) // 2])
    (tmp_path / "empty.pth").write_bytes(b"")
    (tmp_path / "text.safetensors").write_text("hello")
    (tmp_path / "code.pth").write_bytes(pickle.dumps({"model": Bomb()}, protocol=2))
    torch.save({"model": good, "config": Bomb()}, tmp_path / "code_in_zip.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    torch.save({"fc.weight": torch.ones(3, 3)}, tmp_path / "other.pth")
    torch.save({"model": 3}, tmp_path / "number.pth")
    torch.save({"step": 3}, tmp_path / "no_tensor.pth")
    expected = {
        "truncated.pth": "cannot be read",
        "empty.pth": "cannot be read|read safely",
        "text.safetensors": "cannot be read",
        "code.pth": "read safely",
        "code_in_zip.pth": "read safely",
        "list.pth": "holds a list",
        "other.pth": "no vision transformer, but fc.weight",
        "number.pth": "holds a int",
        "no_tensor.pth": "no tensor",
        "absent.pth": "there is no checkpoint",
    }
    for name, message in expected.items():
        with pytest.raises(UserError, match=message) as caught:
            load_checkpoint(tmp_path / name)
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)
    assert "this code ran" not in capsys.readouterr().out


def test_bad_states_and_wishes_are_refused():
    good = dict(Reference((32, 32)).state_dict())
    vit_alone = {key: value for key, value in good.items() if ".vit." in key}
    bent = {**good, "backbone.tsap.clip.1.down.weight": torch.ones(32, 8)}
    for state, options, message in (
        (vit_alone, {"num_heads": 2}, "no adapter paths"),
        (bent, {"num_heads": 2}, r"its tsap.clip.1.down.weight has the shape \(32, 8\)"),
        ({**good, "vit.cls_token": good["backbone.vit.cls_token"]}, {"num_heads": 2}, "twice"),
        (good, {}, "say how many attention heads"),
        (good, {"num_heads": 3}, "3 attention heads do not divide"),
        (good, {"num_heads": 2, "image_size": 30}, "multiples of 8"),
        (good, {"num_heads": 2, "grid": (3, 5)}, "16 patch tokens, not 3x5"),
    ):
        with pytest.raises(UserError, match=message):
            reference.load(state, **options)
