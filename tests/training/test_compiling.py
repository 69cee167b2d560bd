"""Compiled training is the same training, and where there is no compiler it goes on without one."""

from functools import partial

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from sakbench import tasks
from sakbench.backbones.encoder import Encoder
from sakbench.models import SAK
from sakbench.training import optimization
from sakbench.training.compiling import Compiled, compiles
from sakbench.training.loop import fit
from sakbench.training.objectives import TaskObjective
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


def test_a_training_step_is_one_graph():
    model = objective().train()
    model(batch())  # what is kept for later steps
    torch._dynamo.reset()
    torch.compile(model, backend="eager", fullgraph=True)(batch())  # raises where the graph would break


def test_where_the_compiler_fails_training_goes_on_without_it(monkeypatch):
    def broken(graph, inputs):
        raise RuntimeError("no compiler here")

    with pytest.warns(UserWarning, match="goes on without it.*"):
        weights = trained(monkeypatch, broken)
    monkeypatch.undo()
    torch.testing.assert_close(weights, trained(monkeypatch), rtol=0, atol=0)


def test_nothing_is_compiled_for_a_cpu():
    assert not compiles(torch.device("cpu"))
