"""Processes that train one model together find each other here."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import distributed


@contextmanager
def joined(rank: int, devices: tuple[str, ...], meeting: Path | None) -> Iterator[None]:
    """Be process `rank` of as many as there are `devices`, and have the use of one: a core ("cpu") or a GPU's number.

    `meeting` is a file that no process has made yet; one process alone needs none.
    """
    if devices[rank] != "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(devices)
    if meeting is None:
        yield
        return
    # What accelerate asks, of a group that is there already.
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(len(devices)))
    os.environ["LOCAL_WORLD_SIZE"] = str(len(devices))
    on_cpu = devices[rank] == "cpu"
    if on_cpu:
        os.environ.setdefault("OMP_NUM_THREADS", "1")
    else:
        torch.cuda.set_device(rank)
    distributed.init_process_group(
        "gloo" if on_cpu else "nccl", init_method=meeting.as_uri(), rank=rank, world_size=len(devices)
    )
    try:
        yield
    finally:
        distributed.destroy_process_group()
        if rank == 0:
            shutil.rmtree(meeting.parent, ignore_errors=True)
