"""Damaged files: every reader answers with its own error, quickly and in bounded memory."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from cloud_targets import CLOUD_EXTRAS, CLOUD_NAMES
from fuzz_targets import all_targets
from fuzzing import MUTATIONS, Report, Target, check_one, fuzz, mutated

from recon3d.core.errors import FormatError

N_MUTATIONS, N_NATIVE = 150, 40
NAMES = ["PLY", "transforms.json", "trajectory.tum", "scene.json"]
NAMES += [
    "splat PLY",
    "SPZ",
    "SPZ inside",
    "EXR",
    "EXR inside",
    "EXR runs",
    "EXR PIZ",
    "EXR PIZ block",
    "HDR",
    "GLB",
    "GLB tree",
    "mesh PLY",
    "OBJ",
    "OBJ with material",
    "MTL",
]
NAMES += [f"COLMAP {part}.{suffix}" for part in ("cameras", "images", "points3D") for suffix in ("bin", "txt")]

NAMES += ["cameras.json", "subsets.json", "relightable PLY"]
NATIVE = [f"photo {kind}" for kind in ("JPEG", "PNG", "TIFF", "WEBP", "BMP", "PPM", "HEIF")]
NATIVE += ["checked JPEG", "checked TIFF", "mask PNG", "video MP4"]
NAMES += [*NATIVE, *CLOUD_NAMES]
NATIVE += ["E57"]  # opens a file each time
LENIENT = {"checked JPEG", "checked TIFF", "scan rows", "SemanticKITTI labels"}  # most damage leaves a valid file
OPTIONAL = {"photo HEIF", "video MP4", *CLOUD_EXTRAS}


@pytest.fixture(scope="module")
def targets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Target]:
    return {target.name: target for target in all_targets(tmp_path_factory.mktemp("fuzz"))}


def test_no_target_is_forgotten(targets: dict[str, Target]) -> None:
    assert set(targets) - OPTIONAL == set(NAMES) - OPTIONAL


@pytest.mark.parametrize("name", NAMES)
def test_readers_take_their_seeds(targets: dict[str, Target], name: str) -> None:
    if name not in targets:
        pytest.skip("its extra is not installed")
    for seed in targets[name].seeds:
        targets[name].read(seed)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # Pillow remarks on what it finds
@pytest.mark.parametrize("name", NAMES)
def test_damaged_files(targets: dict[str, Target], name: str) -> None:
    if name not in targets:
        pytest.skip("its extra is not installed")
    n_mutations = N_NATIVE if name in NATIVE else N_MUTATIONS
    report = fuzz(targets[name], n_mutations)
    assert report.findings == []
    assert report.accepted + report.refused == n_mutations
    assert report.refused > n_mutations // 5 or name in LENIENT


def test_mutations_are_the_same_in_every_run_and_differ_from_the_seed() -> None:
    target = Target("t", (bytes(range(200)),), len, ())
    files = [mutated(target, index) for index in range(100)]
    assert files == [mutated(target, index) for index in range(100)]
    assert files != [mutated(target, index, seed=1) for index in range(100)]
    assert sum(file != target.seeds[0] for file in files) > 90


@pytest.mark.parametrize("data", [b"", b"\n", b"7", b"a b 3 4\n"])
@pytest.mark.parametrize("mutation", MUTATIONS)
def test_mutations_take_any_file(mutation: object, data: bytes) -> None:
    import numpy as np

    for seed in range(5):
        assert isinstance(mutation(np.random.default_rng(seed), data), bytes)  # type: ignore[operator]


def outcome(read: object, **changes: int) -> Report:
    report = Report()
    target = Target("t", (b"",), read, (FormatError,), **changes)  # type: ignore[arg-type]
    check_one(target, b"", report, "file 0", limit_s=0.05)
    return report


def test_the_check_finds_what_it_is_for(tmp_path: Path) -> None:
    def refuse(data: bytes) -> None:
        raise FormatError("bad")

    def leak(data: bytes) -> None:
        raise KeyError("x")

    assert outcome(len).accepted == 1
    assert outcome(refuse).refused == 1 and not outcome(refuse).findings
    assert outcome(leak).findings == ["file 0: KeyError: 'x'"]
    assert outcome(lambda data: time.sleep(1)).findings == ["file 0: no answer after 0.05 s"]
    assert "bytes for a file of 0" in outcome(lambda data: bytes(10**6), memory_bytes=10**5).findings[0]
