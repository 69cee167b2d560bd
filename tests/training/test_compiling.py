"""Compiled training is the same training, and where there is no compiler it goes on without one."""

from functools import partial

import pytest
import torch
from functorch.compile import nop
from timm.models.vision_transformer import VisionTransformer
from timm.models.vision_transformer_sam import VisionTransformerSAM
from torch import nn
from torch._dynamo.backends.common import aot_autograd

from sakbench import tasks
from sakbench.backbones.encoder import Encoder
from sakbench.backbones.sam import fold
from sakbench.models import SAK
from sakbench.training import optimization
from sakbench.training.compiling import Compiled, compiles
from sakbench.training.loop import fit
from sakbench.training.objectives import DistillObjective, TaskObjective
from sakbench.training.recipe import Recipe

TEACHERS = {"DINOv2": 12, "SAM": 8}
RECIPE = Recipe(steps=4, batch_size=2, lr=1e-2, clip=1.0)


def objective() -> TaskObjective:
    torch.manual_seed(0)
    stem = Encoder(VisionTransformer(img_size=32, patch_size=8, embed_dim=8, depth=4, num_heads=2))
    chosen = {name: tasks.make(name, classes=5 if name == "semseg" else None) for name in ("semseg", "normals")}
    student = SAK(stem, TEACHERS, {name: task.channels for name, task in chosen.items()})
    return TaskObjective(student, chosen, gamma=1.0)


def batch():
    draw = torch.Generator().manual_seed(1)
    return {
        "image": torch.randn(2, 3, 32, 32, generator=draw),
        "semseg": torch.randint(0, 5, (2, 32, 32), generator=draw).byte(),
        "normals": nn.functional.normalize(torch.randn(2, 3, 32, 32, generator=draw), dim=1),
        "features/DINOv2": [torch.randn(2, 12, 4, 4, generator=draw) for _ in range(4)],
        "features/SAM": [torch.randn(2, 8, 8, 8, generator=draw) for _ in range(4)],
    }


def batches(start):
    while True:
        yield batch()


def trained(monkeypatch, backend=None):
    if backend:
        monkeypatch.setattr(optimization, "compiles", lambda device: True)
        monkeypatch.setattr(optimization, "Compiled", partial(Compiled, backend=backend))
    model = objective()
    fit(model, batches, RECIPE, seed=3)
    return model.state_dict()


def test_a_compiled_training_ends_with_the_same_weights(monkeypatch):
    torch.testing.assert_close(trained(monkeypatch, "aot_eager"), trained(monkeypatch), rtol=1e-5, atol=1e-6)


def sam() -> Encoder:
    options = {"img_size": 64, "patch_size": 8, "embed_dim": 8, "depth": 4, "num_heads": 2, "window_size": 3}
    vit = VisionTransformerSAM(**options, use_rel_pos=True, global_attn_indexes=(1, 3))
    fold(vit)
    return Encoder(vit, image_size=(64, 64), own_input=True).eval()


GRAPHS = {
    "stage 1": lambda: (DistillObjective(objective().student), (batch(),)),
    "stage 2": lambda: (objective(), (batch(),)),
    "evaluation": lambda: (objective().student.eval(), (batch()["image"], (32, 32))),
    "a teacher": lambda: (sam(), (torch.randn(2, 3, 32, 48),)),
}


@pytest.mark.parametrize("half", [False, True], ids=["fp32", "bf16"])
@pytest.mark.parametrize("name", GRAPHS)
def test_what_is_compiled_is_one_graph(name, half):
    model, arguments = GRAPHS[name]()
    with torch.autocast("cpu", torch.bfloat16, enabled=half), torch.set_grad_enabled(name.startswith("stage")):
        expected = model(*arguments)  # makes what is kept for later calls
        torch._dynamo.reset()
        torch.manual_seed(0)
        found = torch.compile(model, backend="eager", fullgraph=True)(*arguments)  # raises where the graph would break
        torch.manual_seed(0)
        expected = model(*arguments)
    torch.testing.assert_close(found, expected)


def test_other_shapes_are_not_compiled():
    calls = []

    def counting(graph, inputs):
        calls.append(len(inputs))
        return graph.forward

    layer = Compiled(nn.Linear(3, 2), backend=counting)
    for images in (4, 4, 4, 1, 4, 3):
        assert layer(torch.ones(images, 3)).shape == (images, 2)
    assert len(calls) == 1


@pytest.mark.parametrize("part", ["forward", "backward"])
def test_where_the_compiler_fails_training_goes_on_without_it(monkeypatch, part):
    def broken(graph, inputs):
        raise RuntimeError("no compiler here")

    backend = aot_autograd(fw_compiler=nop, bw_compiler=broken) if part == "backward" else broken
    with pytest.warns(UserWarning, match="torch.compile failed, and TaskObjective runs as it is"):
        weights = trained(monkeypatch, backend)
    monkeypatch.undo()
    torch.testing.assert_close(weights, trained(monkeypatch), rtol=0, atol=0)


def test_nothing_is_compiled_for_a_cpu():
    assert not compiles(torch.device("cpu"))
