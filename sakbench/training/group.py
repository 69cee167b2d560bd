"""Processes that train one model together find each other here."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import distributed

_PATIENCE = timedelta(hours=2)  # with one that fetches weights, or counts boundaries, alone


@contextmanager
def seated(rank: int, devices: tuple[str, ...], meeting: Path | None) -> Iterator[None]:
    """Be process `rank` of as many as there are `devices`, and have the use of one: a core ("cpu") or a GPU's number.

    `meeting` is a file that no process has made yet, to stay until all have left; one process alone needs none.
    """
    on_cpu = devices[rank] == "cpu"
    if not on_cpu:
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(devices)
    if meeting is None:
        yield
        return
    # What accelerate asks, of a group that is there already.
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(len(devices)))
    os.environ["LOCAL_WORLD_SIZE"] = str(len(devices))
    if on_cpu:
        os.environ.setdefault("OMP_NUM_THREADS", "1")
    with _group(rank, on_cpu, init_method=meeting.as_uri(), rank=rank, world_size=len(devices)):
        yield


@contextmanager
def launched(*, on_cpu: bool) -> Iterator[None]:
    """Be one of the group that a launcher's environment describes."""
    with _group(int(os.environ.get("LOCAL_RANK", "0")), on_cpu):
        yield


@contextmanager
def _group(local_rank: int, on_cpu: bool, **where: Any) -> Iterator[None]:
    if not on_cpu:
        torch.cuda.set_device(local_rank)
    # Some sums are kept on the CPU whatever the model is on.
    backend = "gloo" if on_cpu else "cpu:gloo,cuda:nccl"
    distributed.init_process_group(backend, timeout=_PATIENCE, **where)
    try:
        yield
    finally:
        distributed.destroy_process_group()
