"""TUM trajectories: the order of the numbers, names in comments, strict lines."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from random_scenes import random_cameras

from recon3d.core.errors import FormatError, InputError, UsageError
from recon3d.formats.tum import parse_tum, read_tum, write_tum


def test_one_line_by_hand(tmp_path: Path) -> None:
    pose = np.array([[[0.0, -1, 0, 1], [1, 0, 0, 2], [0, 0, 1, 3], [0, 0, 0, 1]]])  # a quarter turn about z
    write_tum(tmp_path / "t.tum", pose, timestamps=np.array([12.5]))
    values = [float(word) for word in (tmp_path / "t.tum").read_text().splitlines()[-1].split()]
    np.testing.assert_allclose(values, [12.5, 1, 2, 3, 0, 0, np.sqrt(0.5), np.sqrt(0.5)], atol=1e-15)


def test_round_trip_with_names(tmp_path: Path) -> None:
    poses = random_cameras(3, 5).world_from_cam
    names = ["a.jpg", 'b "c".jpg', "d\ne.jpg", "\u00e9.jpg", "# 1.jpg"]
    write_tum(tmp_path / "t.tum", poses, names)
    back = read_tum(tmp_path / "t.tum")
    np.testing.assert_allclose(back.world_from_cam, poses, atol=1e-14)
    assert back.timestamps.tolist() == [0, 1, 2, 3, 4] and back.names == tuple(names)


def test_none(tmp_path: Path) -> None:
    write_tum(tmp_path / "t.tum", np.zeros((0, 4, 4)))
    assert read_tum(tmp_path / "t.tum").world_from_cam.shape == (0, 4, 4)


def test_comments_blank_lines_and_line_ends_of_other_tools() -> None:
    text = b"# header\r\n\r\n  # pose 0: not json\r\n1305031102.1758 0 0 1 0 0 0 1\r\n2 0 0 2 0 0 0 -1"
    trajectory = parse_tum(text)
    assert trajectory.timestamps.tolist() == [1305031102.1758, 2] and trajectory.names == ()
    assert trajectory.world_from_cam[:, 2, 3].tolist() == [1, 2]
    np.testing.assert_allclose(trajectory.world_from_cam[:, :3, :3], [np.eye(3)] * 2)


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("0 0 0 0 0 0 1", "line 2: not a pose"),
        ("0 0 0 0 0 0 0 1 9", "not a pose"),
        ("0 0 0 0 0 0 0 x", "not a number"),
        ("0 nan 0 0 0 0 0 1", "not a finite number"),
        ("0 0 0 0 0 0 0 0", "unit length"),
        ("0 0 0 0 1 0 0 1", "unit length"),
        ("0 0 0 0 1e200 0 0 1", "unit length"),
    ],
)
def test_bad_lines(line: str, text: str) -> None:
    with pytest.raises(FormatError, match=text):
        parse_tum(f"#\n{line}\n".encode())


def test_lengths_must_agree(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="differ in number"):
        write_tum(tmp_path / "t.tum", np.tile(np.eye(4), (2, 1, 1)), ["a"])


def test_absent(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read"):
        read_tum(tmp_path / "absent.tum")
