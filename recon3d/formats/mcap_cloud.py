"""The clouds of a recording: MCAP through the package mcap, ROS bags through rosbags; no ROS is needed."""

from __future__ import annotations

import importlib
import io
import sqlite3
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recon3d.core.errors import DependencyError, FormatError, InputError
from recon3d.formats.pointcloud2 import PointCloud2
from recon3d.formats.pointcloud2_codec import ENCODINGS, parse_pointcloud2

_TYPES = ("sensor_msgs/msg/PointCloud2", "sensor_msgs/PointCloud2")
_MAX_RECORD_BYTES = 2 << 30
_DAMAGE: tuple[type[Exception], ...] = (ValueError, KeyError, IndexError, TypeError, AttributeError, EOFError, OSError)
_DAMAGE += (RuntimeError, MemoryError, OverflowError, struct.error, zlib.error, sqlite3.Error)


@dataclass(frozen=True, eq=False)
class RecordedCloud:
    """One message of a recording.

    Args:
        topic: it was sent on.
        time_ns: when it was recorded, nanoseconds since 1970.
        message: the cloud.
    """

    topic: str
    time_ns: int
    message: PointCloud2


def _package(module: str, package: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        what = f"this recording needs the package {package}"
        raise DependencyError(what, got=error, fix="pip install 'recon3d[robotics]'") from error


def read_mcap_clouds(path: Path, topics: Sequence[str] | None = None) -> Iterator[RecordedCloud]:
    """Yield the PointCloud2 messages of an MCAP file, in the order of their times, one in memory at a time.

    Args:
        path: the file.
        topics: names; None takes all that carry clouds.

    Raises:
        InputError: the file cannot be opened.
        FormatError: it is damaged.
        DependencyError: mcap is not installed.
    """
    try:
        with Path(path).open("rb") as file:
            yield from _mcap_messages(file, str(path), topics)
    except OSError as error:
        raise InputError(f"cannot read {path}", got=error.strerror) from error


def parse_mcap_clouds(data: bytes, name: str = "MCAP data") -> list[RecordedCloud]:
    """Return the PointCloud2 messages of the bytes of an MCAP file; see :func:`read_mcap_clouds`.

    Raises:
        FormatError: they are damaged.
        DependencyError: mcap is not installed.
    """
    return list(_mcap_messages(io.BytesIO(data), name, None))


def _mcap_messages(stream: Any, name: str, topics: Sequence[str] | None) -> Iterator[RecordedCloud]:
    reading, errors = _package("mcap.reader", "mcap"), _package("mcap.exceptions", "mcap")
    damage = (*_DAMAGE, errors.McapError, *_codec_errors())
    try:
        limit = min(_MAX_RECORD_BYTES, stream.seek(0, io.SEEK_END))
        stream.seek(0)
        reader = reading.SeekingReader(stream, validate_crcs=True, record_size_limit=limit)
        for schema, channel, message in reader.iter_messages(topics=topics):
            if schema is None or schema.name not in _TYPES or channel.message_encoding not in ENCODINGS:
                continue
            cloud = parse_pointcloud2(message.data, channel.message_encoding, f"{name}, {channel.topic}")
            yield RecordedCloud(channel.topic, message.log_time, cloud)
    except damage as error:
        raise FormatError(f"{name} is a damaged MCAP file", got=f"{type(error).__name__}: {error}"[:200]) from error


def _codec_errors() -> tuple[type[Exception], ...]:
    return (_package("zstandard", "zstandard").ZstdError,)  # lz4 raises RuntimeError


def read_bag_clouds(path: Path, topics: Sequence[str] | None = None) -> Iterator[RecordedCloud]:
    """Yield the PointCloud2 messages of a ROS bag, in the order of their times, one in memory at a time.

    Args:
        path: a ``.bag`` file of ROS 1, or the folder of a bag of ROS 2.
        topics: names; None takes all that carry clouds.

    Raises:
        InputError: the bag cannot be opened.
        FormatError: it is damaged.
        DependencyError: rosbags is not installed.
    """
    rosbags = _package("rosbags.highlevel", "rosbags")
    if not Path(path).exists():
        raise InputError(f"cannot read {path}", got="no such file or folder")
    damage = (*_DAMAGE, rosbags.AnyReaderError, *_bag_errors())
    try:
        with rosbags.AnyReader([Path(path)]) as reader:
            wanted = [each for each in reader.connections if each.msgtype in _TYPES]
            wanted = [each for each in wanted if topics is None or each.topic in topics]
            encoding = "cdr" if reader.is2 else "ros1"
            for connection, time_ns, raw in reader.messages(wanted) if wanted else ():
                cloud = parse_pointcloud2(bytes(raw), encoding, f"{path}, {connection.topic}")
                yield RecordedCloud(connection.topic, int(time_ns), cloud)
    except damage as error:
        raise FormatError(f"{path} is a damaged ROS bag", got=f"{type(error).__name__}: {error}"[:200]) from error


def _bag_errors() -> tuple[type[Exception], ...]:
    first, second = _package("rosbags.rosbag1", "rosbags"), _package("rosbags.rosbag2", "rosbags")
    return first.ReaderError, second.ReaderError
