"""Facts of sums in one order."""

from __future__ import annotations

import pytest
import torch

from recon3d.splats.threads import one_torch_thread


@pytest.mark.parametrize("n", [1, 2, 3])
def test_torch_has_one_thread_inside_and_its_own_number_after(n: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        with one_torch_thread():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == n
        with pytest.raises(ZeroDivisionError), one_torch_thread():
            _ = 1 // 0
        assert torch.get_num_threads() == n
    finally:
        torch.set_num_threads(before)
