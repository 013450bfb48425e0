from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from recon3d.core.errors import FormatError, InputError
from recon3d.splats.checkpoint import NAME, read_checkpoint, resume, write_checkpoint

ARRAYS = {
    "a": np.arange(12, dtype=np.float32).reshape(3, 4),
    "b": np.array([], np.int64),
    "c": np.array(2.5),
    "d": np.array([1, 2, 250], np.uint8),
}
VALUES = {"iteration": 7, "state": {"big": 2**120}, "rate": 0.1 + 0.2}


def test_a_state_comes_back_with_its_bits(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / NAME, "key", VALUES, ARRAYS)
    key, values, arrays = read_checkpoint(tmp_path / NAME)
    assert key == "key" and values == VALUES
    for name, array in ARRAYS.items():
        assert arrays[name].dtype == array.dtype and (arrays[name] == array).all()
        assert arrays[name].shape == array.shape and arrays[name].flags.writeable


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_damaged_checkpoint_is_one_kind_of_error(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / NAME
    write_checkpoint(path, "key", VALUES, ARRAYS)
    whole = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        whole = whole[: data.draw(st.integers(0, len(whole) - 1))]
    else:
        at = data.draw(st.integers(0, len(whole) - 1))
        whole[at] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(bytes(whole))
    with pytest.raises(FormatError):
        read_checkpoint(path)


def test_a_checkpoint_that_cannot_be_used_starts_afresh(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert resume(None, "key") is None and resume(tmp_path, "key") is None
    write_checkpoint(tmp_path / NAME, "key", VALUES, ARRAYS)
    assert resume(tmp_path, "another") is None
    found = resume(tmp_path, "key")
    assert found is not None and found[0]["iteration"] == 7
    (tmp_path / NAME).write_bytes(b"half")
    assert resume(tmp_path, "key") is None and "from the beginning" in caplog.text


def test_an_absent_checkpoint_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        read_checkpoint(tmp_path / NAME)
