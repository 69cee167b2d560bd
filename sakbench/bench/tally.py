"""What a computation takes, counted while it runs: operators, and bytes of tensors that live at the same time."""

import weakref
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

aten = torch.ops.aten


class Tally(TorchDispatchMode):
    """Counts what runs inside: `operators` of torch that compute something (views do not), and `peak`, the most bytes
    of tensors made inside that lived at once. For the CPU: a GPU's allocator tells its peak itself."""

    def __init__(self) -> None:
        super().__init__()
        self.operators = self.live = self.peak = 0
        self._seen: set[int] = set()

    def restart(self) -> None:
        """Count anew; what lives goes on living."""
        self.operators, self.peak = 0, self.live

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.operators += not func.is_view
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._see(leaf.untyped_storage())
        return result

    def _see(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._seen:
            return
        self._seen.add(key)
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self._seen.discard(key)
        self.live -= size


def multiplications(act: Any) -> int:
    """Multiply-adds of matrix products and convolutions in `act()`, backward passes included, as they are executed."""
    flash: dict[Any, Any] = {
        aten._scaled_dot_product_flash_attention_for_cpu: _flash,
        aten._scaled_dot_product_flash_attention_for_cpu_backward: _flash_backward,
    }
    with FlopCounterMode(display=False, custom_mapping=flash) as counter:
        act()
    return counter.get_total_flops() // 2


def _flash(query: Any, key: Any, value: Any, *args: Any, out_shape: Any = None, **kwargs: Any) -> int:
    return sdpa_flop_count(query, key, value)


def _flash_backward(
    gradient: Any, query: Any, key: Any, value: Any, *args: Any, out_shape: Any = None, **kwargs: Any
) -> int:
    return sdpa_backward_flop_count(gradient, query, key, value)
