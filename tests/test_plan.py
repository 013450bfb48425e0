"""The plan: what is given up for memory and time, in which order, and that a resumed run keeps it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given, strategies as st

from recon3d.core.budget import Budget
from recon3d.core.errors import ResourceError
from recon3d.core.stages import StageStore
from recon3d.photos import Photo
from recon3d.plan import BASE_BYTES, BYTES_PER_PIXEL, MIN_IMAGE_SIZE, Plan, make_plan
from recon3d.sfm.options import SfmOptions

OPTIONS = SfmOptions()
WIDTH, HEIGHT = 2000, 1500
ONE_WORKER = BASE_BYTES + BYTES_PER_PIXEL * WIDTH * HEIGHT
PLENTY = Budget(64 << 30, None, 4)


def photos(n: int = 10, width: int = WIDTH, height: int = HEIGHT) -> list[Photo]:
    return [Photo(f"{k:03d}.jpg", Path(f"{k:03d}.jpg"), width, height, f"{k:064x}") for k in range(n)]


def memory(n_bytes: int, n_threads: int = 4) -> Budget:
    return Budget(n_bytes, None, n_threads)


def seconds(limit: float, n_threads: int = 4) -> Budget:
    return replace(PLENTY, max_time_s=limit, n_threads=n_threads)


@pytest.fixture
def store(tmp_path: Path) -> StageStore:
    return StageStore(tmp_path)


def test_nothing_is_given_up_when_all_fits(store: StageStore) -> None:
    assert make_plan(photos(), OPTIONS, PLENTY, store) == Plan(OPTIONS.max_image_size, "auto", 4, ())


@pytest.mark.parametrize("pairs", ["exhaustive", "sequential"])
def test_options_of_the_user_stay(store: StageStore, pairs: Literal["exhaustive", "sequential"]) -> None:
    options = SfmOptions(max_image_size=1000, pairs=pairs)
    plan = make_plan(photos(), options, seconds(1e6), store)
    assert (plan.max_image_size, plan.pairs, plan.notes) == (1000, pairs, ())


def test_less_memory_takes_workers_first(store: StageStore) -> None:
    plan = make_plan(photos(), OPTIONS, memory(BASE_BYTES + 2 * ONE_WORKER + 1), store)
    assert plan == Plan(OPTIONS.max_image_size, "auto", 2, ())


def test_then_photos_are_reduced_with_a_note(store: StageStore) -> None:
    budget = memory(BASE_BYTES + ONE_WORKER // 2)
    plan = make_plan(photos(), OPTIONS, budget, store)
    assert plan.n_workers == 1
    assert MIN_IMAGE_SIZE <= plan.max_image_size < WIDTH
    pixels = plan.max_image_size**2 * HEIGHT / WIDTH
    assert 2 * BASE_BYTES + BYTES_PER_PIXEL * pixels <= budget.max_memory_bytes
    size = budget.max_memory_bytes / 2**30
    assert plan.notes == (f"photos were reduced to {plan.max_image_size} px to stay within {size:.1f} GiB of memory",)


def test_the_largest_photo_decides(store: StageStore) -> None:
    small, large = photos(9, 600, 400), replace(photos(1)[0], key="z.jpg", sha256="f" * 64)
    assert make_plan([*small, large], OPTIONS, memory(BASE_BYTES + ONE_WORKER + 1), store).n_workers == 1


@pytest.mark.parametrize("n_bytes", [1, BASE_BYTES, 2 * BASE_BYTES, 2 * BASE_BYTES + BYTES_PER_PIXEL * 240 * 320 - 1])
def test_too_little_memory_is_an_error_with_its_numbers(store: StageStore, n_bytes: int) -> None:
    with pytest.raises(ResourceError) as caught:
        make_plan(photos(), OPTIONS, memory(n_bytes), store)
    text = str(caught.value)
    assert "too little memory to find features" in text
    assert f"got: {n_bytes / 2**30:.2f} GiB; expected: at least 0.61 GiB" in text
    assert "raise --max-memory" in text
    assert not (store.root / "plan").exists()


def test_less_time_reduces_photos_first(store: StageStore) -> None:
    plan = make_plan(photos(), OPTIONS, seconds(23.0), store)
    assert MIN_IMAGE_SIZE < plan.max_image_size < WIDTH
    assert (plan.pairs, plan.n_workers) == ("auto", 4)
    assert plan.notes == (f"photos were reduced to {plan.max_image_size} px to stay within 23 s",)


def test_then_pairs_with_a_note_each(store: StageStore) -> None:
    plan = make_plan(photos(30), OPTIONS, seconds(40.0), store)
    assert (plan.max_image_size, plan.pairs) == (MIN_IMAGE_SIZE, "sequential")
    assert plan.notes == (
        f"photos were reduced to {MIN_IMAGE_SIZE} px to stay within 40 s",
        "only neighbouring and similar photos were matched to save time",
    )


def test_few_photos_keep_all_pairs_however_short_the_time(store: StageStore) -> None:
    plan = make_plan(photos(20), OPTIONS, seconds(1.0), store)
    assert (plan.max_image_size, plan.pairs) == (MIN_IMAGE_SIZE, "auto")


def test_memory_comes_before_time(store: StageStore) -> None:
    plan = make_plan(photos(), OPTIONS, replace(memory(BASE_BYTES + ONE_WORKER // 2, 1), max_time_s=16.0), store)
    assert [note.split(" to stay within ")[1] for note in plan.notes] == ["0.7 GiB of memory", "16 s"]


def test_small_photos_are_never_reduced_below_the_least_size(store: StageStore) -> None:
    plan = make_plan(photos(4, 300, 200), OPTIONS, seconds(0.1), store)
    assert plan == Plan(OPTIONS.max_image_size, "auto", 4, ())


def test_resumed_run_keeps_the_decision_when_the_machine_changed(store: StageStore) -> None:
    first = make_plan(photos(), OPTIONS, memory(BASE_BYTES + ONE_WORKER // 2), store)
    again = make_plan(photos(), OPTIONS, PLENTY, StageStore(store.root))
    assert again == replace(first, n_workers=4)  # workers change no bit of the result
    roomy = make_plan(photos(9), OPTIONS, PLENTY, store)
    tight = make_plan(photos(9), OPTIONS, memory(BASE_BYTES + ONE_WORKER // 2), store)
    assert tight == replace(roomy, n_workers=1)


@pytest.mark.parametrize("change", ["photos", "options", "time"])
def test_other_input_decides_anew(store: StageStore, change: str) -> None:
    first = make_plan(photos(), OPTIONS, memory(BASE_BYTES + ONE_WORKER // 2), store)
    assert first.notes
    given_photos = photos(11) if change == "photos" else photos()
    options = replace(OPTIONS, max_features=4096) if change == "options" else OPTIONS
    budget = seconds(1e6) if change == "time" else PLENTY
    assert make_plan(given_photos, options, budget, store) == Plan(OPTIONS.max_image_size, "auto", 4, ())


@given(
    n_bytes=st.integers(2 * BASE_BYTES + BYTES_PER_PIXEL * 321 * 321, 32 << 30),
    width=st.integers(320, 20_000),
    height=st.integers(320, 20_000),
    n_threads=st.integers(1, 64),
)
def test_memory_is_kept_and_not_wasted(
    tmp_path_factory: pytest.TempPathFactory, n_bytes: int, width: int, height: int, n_threads: int
) -> None:
    store = StageStore(tmp_path_factory.mktemp("plan"))
    plan = make_plan(photos(3, width, height), SfmOptions(max_image_size=20_000), memory(n_bytes, n_threads), store)
    long_side = min(plan.max_image_size, max(width, height))
    pixels = width * height * (long_side / max(width, height)) ** 2
    worker = BASE_BYTES + BYTES_PER_PIXEL * pixels
    assert BASE_BYTES + plan.n_workers * worker <= n_bytes
    assert 1 <= plan.n_workers <= n_threads
    assert (plan.notes != ()) == (long_side < max(width, height))
    assert plan.n_workers == n_threads or BASE_BYTES + (plan.n_workers + 1) * worker > n_bytes


def test_another_limit_of_the_user_is_another_plan(store: StageStore) -> None:
    roomy = make_plan(photos(), OPTIONS, PLENTY, store, "8GB")
    tight = make_plan(photos(), OPTIONS, memory(BASE_BYTES + ONE_WORKER // 2), store, "1GB")
    assert tight.max_image_size < roomy.max_image_size
