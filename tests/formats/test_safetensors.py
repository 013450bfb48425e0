from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings, strategies as st

from recon3d.core.errors import FormatError, InputError
from recon3d.formats.safetensors import read_safetensors, safetensors_bytes, write_safetensors

TENSORS = {
    "weight": torch.arange(6.0).reshape(2, 3),
    "half": torch.tensor([1.5, -2.0], dtype=torch.float16),
    "brain": torch.tensor([[3.0]], dtype=torch.bfloat16),
    "code": torch.tensor([0.5, 448.0], dtype=torch.float8_e4m3fn),
    "count": torch.tensor(7),
    "flags": torch.tensor([True, False, True]),
    "nothing": torch.zeros(0, 4),
}


def written(folder: Path, data: bytes) -> Path:
    path = folder / "file.safetensors"
    path.write_bytes(data)
    return path


def packed(header: object, body: bytes = b"") -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


def test_tensors_come_back_with_their_types(tmp_path: Path) -> None:
    found = read_safetensors(written(tmp_path, safetensors_bytes(TENSORS, {"licence": "Apache-2.0"})))
    assert found.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert found[name].dtype == tensor.dtype and found[name].shape == tensor.shape
        assert torch.equal(found[name].float(), tensor.float())


def test_the_bytes_follow_the_format() -> None:
    data = safetensors_bytes({"b": torch.tensor([1.0]), "a": torch.tensor([2], dtype=torch.uint8)}, {"k": "v"})
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    assert header == {
        "__metadata__": {"k": "v"},
        "a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]},
        "b": {"dtype": "F32", "shape": [1], "data_offsets": [1, 5]},
    }
    assert length % 8 == 0
    assert data[8 + length :] == b"\x02" + torch.tensor([1.0]).numpy().tobytes()


def test_the_order_of_the_names_does_not_matter() -> None:
    assert safetensors_bytes(TENSORS) == safetensors_bytes(dict(reversed(TENSORS.items())))


def test_a_view_is_written_as_it_looks(tmp_path: Path) -> None:
    tensor = torch.arange(6.0).reshape(2, 3).T
    assert torch.equal(read_safetensors(written(tmp_path, safetensors_bytes({"t": tensor})))["t"], tensor)


def test_tensors_may_be_changed_without_touching_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, safetensors_bytes(TENSORS))
    read_safetensors(path)["weight"].zero_()
    assert torch.equal(read_safetensors(path)["weight"], TENSORS["weight"])


def test_types_without_a_name_are_refused() -> None:
    with pytest.raises(FormatError, match="complex64"):
        safetensors_bytes({"c": torch.zeros(1, dtype=torch.complex64)})


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.safetensors cannot be read"):
        read_safetensors(tmp_path / "nowhere.safetensors")


def test_every_cut_is_noticed(tmp_path: Path) -> None:
    data = safetensors_bytes(TENSORS)
    for length in range(0, len(data), 7):
        with pytest.raises(FormatError, match="is not a safetensors file"):
            read_safetensors(written(tmp_path, data[:length]))


ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    "header",
    [
        [],
        {"t": []},
        {"t": {**ENTRY, "dtype": "F33"}},
        {"t": {**ENTRY, "shape": [3]}},
        {"t": {**ENTRY, "shape": [-2]}},
        {"t": {**ENTRY, "shape": [2.0]}},
        {"t": {**ENTRY, "shape": "2"}},
        {"t": {**ENTRY, "data_offsets": [8, 16]}},
        {"t": {**ENTRY, "data_offsets": [-8, 0]}},
        {"t": {**ENTRY, "data_offsets": [0]}},
        {"t": {"dtype": "F32", "shape": [2]}},
        {"t": {**ENTRY, "shape": [10**12], "data_offsets": [0, 4 * 10**12]}},
    ],
)
def test_headers_that_lie_are_refused(tmp_path: Path, header: object) -> None:
    with pytest.raises(FormatError):
        read_safetensors(written(tmp_path, packed(header, bytes(8))))


def test_a_good_header_of_the_same_kind_is_read(tmp_path: Path) -> None:
    assert read_safetensors(written(tmp_path, packed({"t": ENTRY}, bytes(8))))["t"].tolist() == [0.0, 0.0]


@settings(max_examples=60)
@given(st.data())
def test_damaged_bytes_give_tensors_or_our_error(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    damaged = bytearray(safetensors_bytes({"t": torch.arange(4.0), "u": torch.zeros(2)}))
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    path = written(tmp_path_factory.getbasetemp(), bytes(damaged))
    try:
        assert all(one.numel() <= len(damaged) for one in read_safetensors(path).values())
    except FormatError as error:
        assert str(path) in str(error)


def test_a_shared_tensor_comes_back_under_all_its_names(tmp_path: Path) -> None:
    data = safetensors_bytes({"a": torch.ones(2)}, {"b": "a", "format": "pt", "c": "nowhere"})
    found = read_safetensors(written(tmp_path, data))
    assert found.keys() == {"a", "b"}
    assert found["b"].data_ptr() == found["a"].data_ptr()


def test_a_name_in_the_metadata_never_hides_a_tensor(tmp_path: Path) -> None:
    data = safetensors_bytes({"a": torch.ones(2), "b": torch.zeros(2)}, {"b": "a"})
    assert torch.equal(read_safetensors(written(tmp_path, data))["b"], torch.zeros(2))


@pytest.mark.parametrize("metadata", [[], 3, None, {"b": 3}, {"b": ["a"]}])
def test_metadata_of_another_kind_gives_tensors_or_our_error(tmp_path: Path, metadata: object) -> None:
    entry = {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}
    path = written(tmp_path, packed({"__metadata__": metadata, "a": entry}, b"\x01"))
    try:
        assert read_safetensors(path).keys() == {"a"}
    except FormatError as error:
        assert "is not a safetensors file" in str(error)


def test_a_written_file_has_the_bytes_and_appears_at_once(tmp_path: Path) -> None:
    path = tmp_path / "out.safetensors"
    write_safetensors(path, TENSORS, {"k": "v"})
    assert path.read_bytes() == safetensors_bytes(TENSORS, {"k": "v"})
    with pytest.raises(FormatError, match="cannot be written"):
        write_safetensors(path, {"z": torch.zeros(1, dtype=torch.complex64)})
    assert [one.name for one in tmp_path.iterdir()] == ["out.safetensors"]
    assert path.read_bytes() == safetensors_bytes(TENSORS, {"k": "v"})
