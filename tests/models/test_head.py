"""The cheap head against the head as the paper writes it, and interpolation by matrices against torch's."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sakbench.models import Head, bilinear


def paper_head(head: Head, maps: list[Tensor], output_size: tuple[int, int]) -> Tensor:
    """The same parameters, in the order that the paper describes (B.1)."""
    quarter = (output_size[0] // 4, output_size[1] // 4)
    reduced = [
        F.interpolate(
            linear(level.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), size=quarter, mode="bilinear", align_corners=False
        )
        for linear, level in zip(head.linears, maps, strict=True)
    ]
    logits = head.classifier(F.gelu(head.norm(head.conv(torch.cat(reduced, dim=1)))))
    return F.interpolate(logits, size=output_size, mode="bilinear", align_corners=False)


def random_maps(grids: list[tuple[int, int]], dim: int) -> list[Tensor]:
    return [torch.randn(2, dim, *grid, dtype=torch.float64, requires_grad=True) for grid in grids]


@pytest.mark.parametrize(
    ("grids", "output_size"),
    [
        ([(8, 8)] * 4, (64, 64)),  # mini: twice
        ([(3, 5)] * 4, (48, 80)),  # four times, not square
        ([(4, 3)] * 4, (32, 60)),  # different factors per axis, one of them odd
        ([(1, 6)] * 4, (16, 40)),  # one row
        ([(8, 8)] * 4, (32, 32)),  # no enlargement
        ([(8, 8)] * 4, (16, 16)),  # reduction
        ([(2, 3), (4, 6), (4, 6), (8, 12)], (32, 48)),  # levels of different sizes
    ],
)
def test_the_head_is_the_papers_head(grids, output_size):
    torch.manual_seed(0)
    head, reference = (Head(dims=(16,) * 4, channels=3).double() for _ in range(2))
    reference.load_state_dict(head.state_dict())
    maps = random_maps(grids, dim=16)
    copies = [level.detach().clone().requires_grad_() for level in maps]
    logits, expected = head(maps, output_size), paper_head(reference, copies, output_size)
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-13)
    weight = torch.randn_like(logits)
    (logits * weight).sum().backward()
    (expected * weight).sum().backward()
    ours = {name: parameter.grad for name, parameter in head.named_parameters()}
    theirs = {name: parameter.grad for name, parameter in reference.named_parameters()}
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-11)
    torch.testing.assert_close([m.grad for m in maps], [m.grad for m in copies], rtol=1e-12, atol=1e-12)
    for name, statistic in reference.norm.named_buffers():
        torch.testing.assert_close(head.norm.get_buffer(name), statistic, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("training", [True, False])
def test_a_large_map_is_made_again_for_the_backward_pass_and_nothing_changes(monkeypatch, training):
    torch.manual_seed(0)
    plain, saving = (Head(dims=(16,) * 4, channels=3).double().train(training) for _ in range(2))
    saving.load_state_dict(plain.state_dict())
    maps = random_maps([(4, 6)] * 4, dim=16)
    copies = [level.detach().clone().requires_grad_() for level in maps]
    results, kept = [], []
    for head, levels, large in ((plain, maps, 10**9), (saving, copies, 1)):
        monkeypatch.setattr("sakbench.models.head._LARGE", large)
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.append(t.numel()) or t, lambda t: t):  # noqa: B023
            logits = head(levels, (64, 96))
        logits.square().sum().backward()
        results.append([logits, *(p.grad for p in head.parameters()), *(m.grad for m in levels), *head.norm.buffers()])
        kept.append(sum(size == 2 * 16 * 16 * 24 for size in sizes))
    torch.testing.assert_close(results[1], results[0], rtol=0, atol=0)
    assert kept[1] < kept[0]


def test_the_taps_move_to_the_low_resolution_only_where_that_is_less_work(monkeypatch):
    calls = []
    monkeypatch.setattr(Head, "_interpolate_then_convolve", lambda self, reduced, size: calls.append(size) or _stop())
    head = Head(dims=(8,) * 4, channels=1)
    head([torch.randn(2, 8, 4, 4)] * 4, (32, 32))
    assert calls == []
    with pytest.raises(StopIteration):
        head([torch.randn(2, 8, 8, 8)] * 4, (32, 32))
    assert calls == [(8, 8)]


def _stop():
    raise StopIteration


def test_the_state_dict_is_that_of_an_ordinary_head():
    shapes = {name: tuple(value.shape) for name, value in Head(dims=(8,) * 4, channels=5).state_dict().items()}
    assert shapes == {
        **{f"linears.{level}.weight": (2, 8) for level in range(4)},
        **{f"linears.{level}.bias": (2,) for level in range(4)},
        "conv.weight": (8, 8, 3, 3),
        "conv.bias": (8,),
        **{f"norm.{name}": (8,) for name in ("weight", "bias", "running_mean", "running_var")},
        "norm.num_batches_tracked": (),
        "classifier.weight": (5, 8, 1, 1),
        "classifier.bias": (5,),
    }


@pytest.mark.parametrize("size", [(16, 16), (5, 9), (7, 3), (2, 30)])
def test_bilinear_is_torchs(size):
    maps = torch.randn(2, 3, 5, 9, dtype=torch.float64)
    expected = F.interpolate(maps, size=size, mode="bilinear", align_corners=False)
    torch.testing.assert_close(bilinear(maps, size), expected, rtol=0, atol=1e-14)


def test_a_matrix_first_used_without_gradients_serves_training_too():
    head, maps = Head(dims=(8,) * 4, channels=1), [torch.randn(2, 8, 3, 7)] * 4
    with torch.inference_mode():
        head(maps, (44, 60))
    head(maps, (44, 60)).sum().backward()
    assert head.conv.weight.grad is not None
