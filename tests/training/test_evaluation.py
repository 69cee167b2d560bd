"""An evaluation against its metrics, fed by hand with what lies inside the padding."""

import pytest
import torch

from sakbench import tasks
from sakbench.backbones.inputs import IMAGENET
from sakbench.data import transforms
from sakbench.metrics import OdsF
from sakbench.training.evaluation import metric_of, task_sums

SIZE = (48, 64)
BOXES = torch.tensor([[4, 7, 40, 50], [0, 0, 48, 64], [10, 20, 21, 33]])  # top, left, height, width


class Echo(torch.nn.Module):
    """A student whose logits are its images' channels."""

    def __init__(self):
        super().__init__()
        self.nothing = torch.nn.Parameter(torch.zeros(1))

    def forward(self, images, output_size):
        assert output_size == SIZE
        return {"semseg": images[:, :3], "boundary": images[:, 3:4]}


@pytest.fixture(scope="module")
def batch():
    draw = torch.Generator().manual_seed(0)
    images = torch.nn.functional.interpolate(torch.randn(3, 4, 12, 16, generator=draw), SIZE, mode="bilinear")
    labels = torch.randint(0, 3, (3, *SIZE), generator=draw).byte()
    lines, truth = ((torch.rand(3, *SIZE, generator=draw) < share).byte() for share in (0.1, 0.2))
    inside = torch.zeros(3, *SIZE, dtype=torch.bool)
    for image, (top, left, height, width) in enumerate(BOXES.tolist()):
        inside[image, top : top + height, left : left + width] = True
    for target in (labels, lines):
        target[~inside] = 255
    return {"image": images, "semseg": labels, "boundary": lines, "truth/boundary": truth, "box": BOXES}


@pytest.mark.parametrize("threads", [1, 3])
def test_padding_is_cut_away_and_the_truth_is_the_evaluations_own(batch, threads):
    """odsF depends on the image's size and suppresses what lies at its border: ignoring the padding is not enough."""
    chosen = {"semseg": tasks.make("semseg", classes=3), "boundary": tasks.make("boundary")}
    sums = task_sums(Echo(), [batch], chosen, threads=threads)
    found = {name: metric_of(task, sums[name]) for name, task in chosen.items()}
    odsf, padded = OdsF(), OdsF()
    probability = batch["image"][:, 3].sigmoid()
    for image, (top, left, height, width) in enumerate(BOXES.tolist()):
        inside = (slice(image, image + 1), slice(top, top + height), slice(left, left + width))
        odsf.update(probability[inside], batch["truth/boundary"][inside])
    padded.update(probability, batch["truth/boundary"])
    assert found["boundary"] == odsf.compute() != padded.compute()
    miou = chosen["semseg"].new_metric()
    miou.update(chosen["semseg"].decode(batch["image"][:, :3]), batch["semseg"])
    assert found["semseg"] == pytest.approx(miou.compute())


def test_rooms_that_do_not_know_each_other_agree():
    """The data room normalises images, ignores labels and mirrors normals as the models and tasks above it expect."""
    assert (transforms.IMAGE_MEAN, transforms.IMAGE_STD) == IMAGENET
    assert tasks.base.IGNORE == transforms.IGNORE
    normals = torch.nn.functional.normalize(torch.randn(3, 5, 6), dim=0)
    normals[:, 0] = transforms.IGNORE
    mirrored = transforms.F.horizontal_flip(transforms.Normals(normals))
    assert torch.equal(torch.Tensor(mirrored), tasks.make("normals").flip(normals))
