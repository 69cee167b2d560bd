"""How many multiplications each operator that torch dispatches does."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

_aten = torch.ops.aten
NORM = 4  # multiplications per element of LayerNorm or BatchNorm
BILINEAR, BICUBIC = 4, 16  # of neighbours, per element

# per element of the (first) output
_PER_ELEMENT: dict[Any, int] = {
    _aten.native_layer_norm: NORM,
    _aten.native_batch_norm: NORM,
    _aten._native_batch_norm_legit: NORM,
    _aten._native_batch_norm_legit_no_training: NORM,
    _aten.cudnn_batch_norm: NORM,
    _aten.upsample_bilinear2d: BILINEAR,
    _aten.upsample_bicubic2d: BICUBIC,
    _aten.mul: 1,
    _aten.mul_: 1,
    _aten.div: 1,
    _aten.div_: 1,
    _aten.addcmul: 1,
}


def _attention(query: Tensor, key: Tensor, value: Tensor) -> int:
    """The two matrix products of attention (B, heads, n, d), which torch does not count on a CPU."""
    return query.shape[:-1].numel() * key.shape[-2] * (query.shape[-1] + value.shape[-1])


class Multiplications(TorchDispatchMode):
    """Sums up the multiplications of everything that runs under it, on the meta device too.

    Matrix products (attention's two included) and convolutions: one per product; norms: 4 per element; interpolation:
    one per neighbour and element; products of whole tensors: one per element. Activation functions and softmax are
    functions, not products, and count nothing, nor does arithmetic of integers.
    """

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(
        self, operator: Any, types: Sequence[Any], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run the operator and count it."""
        kwargs = kwargs or {}
        result = operator(*args, **kwargs)
        packet = operator.overloadpacket
        if packet in flop_registry:
            self.total += flop_registry[packet](*args, **kwargs, out_val=result) // 2  # torch counts additions too
        elif packet is _aten._scaled_dot_product_flash_attention_for_cpu:
            self.total += _attention(*args[:3])
        elif packet in _PER_ELEMENT:
            first = result[0] if isinstance(result, tuple) else result
            if isinstance(first, Tensor) and first.is_floating_point():
                self.total += _PER_ELEMENT[packet] * first.numel()
        return result
