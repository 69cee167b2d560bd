"""Measures subjects in one run, in turn, so that what else the machine does meets all alike."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import ceil
from statistics import median

import torch

from sakbench.bench.cases import Case
from sakbench.bench.setting import Act, Setting
from sakbench.bench.tally import Tally, multiplications

_ROUND_SECONDS = 1.0
_GEMM = {"cuda": 8192, "cpu": 1024}


@dataclass(frozen=True)
class Measured:
    """One subject at one setting.

    `rates` are images a second, one of each round; `memory` is the peak in bytes of what it made, its weights and its
    optimiser included; `macs` its executed multiply-adds of an image; `share` the part of the hardware's peak that they
    are at the median rate; `operators` those of torch in one call (views left out), counted on a CPU only.
    """

    subject: str
    rates: tuple[float, ...]
    memory: int
    macs: int
    share: float
    operators: int | None


def measure(
    case: Case, setting: Setting, rounds: int, report: Callable[[str], None], batches: int = 1
) -> Iterator[Measured]:
    """All subjects of a case, whose calls take so many batches; `report` is told what is done."""
    torch.compiler.reset()  # it keeps few models of a kind
    images = setting.images * batches
    acts, told = {}, {}
    for subject, make in case.items():
        report(f"{subject}: first call")
        acts[subject], told[subject] = _made(make, setting, images)
    rates = paired(acts, images, rounds, setting.device, report)
    limit = peak(setting)
    for subject, (memory, macs, operators) in told.items():
        share = 2 * macs * median(rates[subject]) / limit
        yield Measured(subject, tuple(rates[subject]), memory, macs, share, operators)


def paired(
    acts: Mapping[str, Act], images: int, rounds: int, device: str, report: Callable[[str], None] = lambda _: None
) -> dict[str, list[float]]:
    """Images a second of each act in each round; a round calls every act in turn for about a second."""
    calls = {}
    for subject, act in acts.items():
        act()  # whatever is compiled, chosen and allocated once
        calls[subject] = max(1, ceil(_ROUND_SECONDS / _seconds(act, 1, device)))
    rates: dict[str, list[float]] = {subject: [] for subject in acts}
    for number in range(rounds):
        for subject, act in acts.items():
            report(f"{subject}: round {number + 1} of {rounds}")
            seconds = _seconds(act, calls[subject], device)
            rates[subject].append(calls[subject] * images / seconds)
    return rates


def peak(setting: Setting) -> float:
    """The floating-point operations a second of a large matrix product, in the numbers in which models compute."""
    side = _GEMM[setting.device]
    dtype = torch.bfloat16 if setting.precision == "bf16" else torch.float32
    left, right = (torch.randn(side, side, device=setting.device, dtype=dtype) for _ in range(2))
    left @ right
    return 2 * side**3 / min(_seconds(lambda: left @ right, 5, setting.device) / 5 for _ in range(5))


def _made(make: Callable[[Setting], Act], setting: Setting, images: int) -> tuple[Act, tuple[int, int, int | None]]:
    """An act, and of one call the peak memory, the multiply-adds of an image and the operators."""
    if setting.device == "cuda":
        before = torch.cuda.memory_allocated()
        act = make(setting)
        macs = multiplications(act)  # the first call is not compiled yet, so that all is seen
        act()
        torch.cuda.reset_peak_memory_stats()
        act()
        return act, (torch.cuda.max_memory_allocated() - before, macs // images, None)
    tally = Tally()
    with tally:
        act = make(setting)
        act()
        tally.restart()  # what was only needed to build it is gone
        act()
        operators = tally.operators
    return act, (tally.peak, multiplications(act) // images, operators)


def _seconds(act: Act, calls: int, device: str) -> float:
    _synchronize(device)
    began = time.perf_counter()
    for _ in range(calls):
        act()
    _synchronize(device)
    return time.perf_counter() - began


def _synchronize(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()
