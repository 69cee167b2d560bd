import torch
import torch.nn.functional as F

from sakbench.bench.tally import Tally, multiplications


def test_peak_is_what_lives_at_once_and_views_cost_nothing():
    with Tally() as tally:
        kept = torch.zeros(1000)  # 4,000 bytes
        for _ in range(5):
            passing = kept + 1  # 4,000 more, one at a time: the last lives while the next is made
        view = kept.view(10, 100).T
    assert tally.peak == 12_000
    assert tally.live == 8_000
    assert tally.operators == 6
    assert view.shape == passing.view(100, 10).shape


def test_what_a_backward_pass_keeps_is_counted():
    weight = torch.randn(100, 100, requires_grad=True)
    with Tally() as tally:
        # gelu keeps its input, the sum of squares its own: two arrays, and one gradient of each while they go
        F.gelu(torch.ones(50, 100) @ weight).square().sum().backward()
    assert weight.grad is not None
    assert 3 * 50 * 100 * 4 <= tally.peak <= 8 * 50 * 100 * 4 + 100 * 100 * 4
    del weight
    assert tally.live < tally.peak


def test_counting_anew_keeps_what_lives():
    with Tally() as tally:
        kept = torch.zeros(1000)
        torch.zeros(5000)
        tally.restart()
        torch.zeros(10)
    assert (tally.operators, tally.peak) == (1, 4_040)
    assert kept.numel() == 1000


def test_multiplications_of_forward_and_backward_passes():
    left, right = torch.randn(20, 30, requires_grad=True), torch.randn(30, 40, requires_grad=True)
    assert multiplications(lambda: left @ right) == 20 * 30 * 40
    assert multiplications(lambda: (left @ right).sum().backward()) == 3 * 20 * 30 * 40
    query = torch.randn(2, 3, 64, 16, requires_grad=True)
    attention = multiplications(lambda: F.scaled_dot_product_attention(query, query, query))
    assert attention == 2 * (2 * 3 * 64 * 64 * 16)
