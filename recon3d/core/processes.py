"""Several processes that train together, started by torchrun; one process alone needs none of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel


@dataclass(frozen=True)
class Processes:
    """This process among those that train together.

    Args:
        rank: its number.
        world: how many there are.
        device: that it computes on.
    """

    rank: int
    world: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this process writes."""
        return self.rank == 0

    def shared(self, model: nn.Module) -> nn.Module:
        """Return a network whose gradients are averaged over the processes."""
        if self.world == 1:
            return model
        ids = [self.device.index] if self.device.type == "cuda" else None
        return DistributedDataParallel(model, device_ids=ids, find_unused_parameters=True)

    def agreed(self, value: float) -> float:
        """Return the first process's value in all of them."""
        if self.world == 1:
            return value
        tensor = torch.tensor([value], dtype=torch.float64, device=self.device)
        torch.distributed.broadcast(tensor, 0)
        return float(tensor)


@contextmanager
def processes(device: str) -> Iterator[Processes]:
    """Join the processes that torchrun started, while the block runs.

    Args:
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:0``; several processes take one GPU each.
    """
    rank, world, local = (int(os.environ.get(name, other)) for name, other in _VARIABLES)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    here = torch.device(device if device != "cuda" else f"cuda:{local}")
    if world == 1:
        yield Processes(0, 1, here)
        return
    torch.distributed.init_process_group("nccl" if here.type == "cuda" else "gloo")
    try:
        yield Processes(rank, world, here)
    finally:
        torch.distributed.destroy_process_group()


_VARIABLES = (("RANK", "0"), ("WORLD_SIZE", "1"), ("LOCAL_RANK", "0"))
