from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_networks import DA3, alive
from true_network import HEIGHT, WIDTH, TrueNetwork

from recon3d.core.errors import ResourceError
from recon3d.core.progress import Progress
from recon3d.core.stages import StageStore
from recon3d.core.workers import WorkerOptions
from recon3d.feedforward.da3.model import DepthAnything3
from recon3d.feedforward.engine import photographs
from recon3d.feedforward.engine.network import ChosenWeights, Loaded
from recon3d.feedforward.engine.photographs import (
    VIEWS,
    Means,
    Photographs,
    ask,
    estimate_stage,
    fitting_size,
    memory_of,
)
from recon3d.feedforward.engine.stored import load_views
from recon3d.feedforward.memory import inference_bytes
from recon3d.photos import Photo
from recon3d.sfm.engine import Tools


def written(folder: Path, n: int = 3, factor: int = 1, *, video: bool = False) -> list[Photo]:
    """Photos whose every file has bytes of its own."""
    rng = np.random.default_rng(0)
    found = []
    for k in range(n):
        path = folder / f"{k}.png"
        size = HEIGHT * factor, WIDTH * factor
        Image.fromarray(rng.integers(0, 255, (*size, 3), np.uint8)).save(path)
        found.append(Photo(path.name, path, size[1], size[0], f"{k:064d}", time_s=k / 10 if video else None))
    return found


def tools(folder: Path) -> Tools:
    return Tools(StageStore(folder / "work"), WorkerOptions(1), Progress(), 10**8)


def means(folder: Path, memory: int = 1 << 32, **options: Any) -> Means:
    weights = folder / "weights"
    weights.write_bytes(b"")
    return Means(ChosenWeights("da3-small", weights, None, False), memory, 1, **options)


@pytest.fixture
def true(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photographs, "load_network", lambda _: Loaded(TrueNetwork(), "known", ("a note",)))


def test_placements_refer_to_the_photos_in_full_size(tmp_path: Path, true: None) -> None:
    photos = written(tmp_path, 2, 10)
    done = estimate_stage(photos, means(tmp_path, size=WIDTH), tools(tmp_path))
    found = load_views(done.folder / VIEWS)
    assert found.placements[1].scale_x == pytest.approx(0.1) and found.depth_z.shape == (2, HEIGHT, WIDTH)
    assert done.value["notes"] == ["a note"] and done.value["size"] == WIDTH


def test_a_stage_is_made_once(tmp_path: Path, true: None) -> None:
    photos, given = written(tmp_path), means(tmp_path, size=WIDTH)
    one = estimate_stage(photos, given, tools(tmp_path))
    assert not one.reused and estimate_stage(photos, given, tools(tmp_path)).reused
    assert not estimate_stage(photos, means(tmp_path, size=2 * WIDTH), tools(tmp_path)).reused


def test_what_a_mask_leaves_out_is_no_surface(tmp_path: Path, true: None) -> None:
    photos = written(tmp_path, 1)
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[:, : WIDTH // 2] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    masked = [Photo(**{**vars(photos[0]), "mask": tmp_path / "mask.png"})]
    done = estimate_stage(masked, means(tmp_path, size=WIDTH), tools(tmp_path))
    valid = load_views(done.folder / VIEWS).valid[0]
    assert valid[:, : WIDTH // 2].mean() > 0.9 and not valid[:, WIDTH // 2 :].any()


def network() -> DepthAnything3:
    model = DepthAnything3(DA3)
    alive(model)
    return model


def test_less_memory_means_smaller_images_and_says_so(tmp_path: Path) -> None:
    photos, model = written(tmp_path, 3, 10), network()
    enough = inference_bytes(model, 3, 196, 252)
    assert fitting_size(model, photos, means(tmp_path, 1 << 32, size=518)) == (518, [])
    size, notes = fitting_size(model, photos, means(tmp_path, enough, size=518))
    assert size in (252, 266) and f"{size} instead of 518 px" in notes[0]


def test_too_little_memory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match="memory"):
        fitting_size(network(), written(tmp_path, 2, 10), means(tmp_path, 1000, size=252))


@pytest.mark.parametrize("video", [True, False])
def test_more_photos_than_fit_go_in_overlapping_groups(
    tmp_path: Path, video: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos, model = written(tmp_path, 7, video=video), network()
    monkeypatch.setattr(photographs, "chunk_size", lambda *_: 4)
    shown: list[int] = []
    real = photographs.estimate_views

    def counted(network: Any, images: Sequence[Any], **options: Any) -> Any:
        shown.append(len(images))
        return real(network, images, **options)

    monkeypatch.setattr(photographs, "estimate_views", counted)
    given = Photographs(photos, 100, 10**8)
    answer = ask(model, given, WIDTH, means(tmp_path), tools(tmp_path))
    assert len(answer.views) == 7 and max(shown) <= 8 and len(shown) >= 3
    assert "overlapping groups of 4" in answer.notes[0] and answer.views.placements[6].scale_x == pytest.approx(1.0)


def test_a_gpu_has_memory_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000, 2000))
    given = means(tmp_path, 5)
    assert memory_of(torch.device("cuda"), given) == 900 and memory_of(torch.device("cpu"), given) == 5
