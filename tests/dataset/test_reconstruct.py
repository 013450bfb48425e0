"""The whole pipeline on every small photo set found: the right cameras or a refusal, and every file accounted for.

Only the three sets with the fewest photos are run, at a reduced image size, so that the test run stays short;
benchmarks/photo_sets.py measures all sets at full size.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pytest

from recon3d.core.errors import ResultError
from recon3d.evaluation import Estimate, Truth, evaluate_cameras, read_truth
from recon3d.pipeline import reconstruct
from recon3d.scene import Scene, View
from recon3d.sfm.options import SfmOptions

ROOT = Path(os.environ.get("RECON3D_DATASETS", Path(__file__).resolve().parents[3] / "shared" / "datasets"))
N_SETS, MAX_PHOTOS = 3, 16
QUICK = SfmOptions(max_image_size=640, max_features=3000)
MIN_PLACED = 0.8
MIN_RRA_5, MIN_AUC_10 = 95.0, 75.0  # per cent of the pairs of placed photos


def _n_photos(folder: Path) -> int:
    return len(list(folder.glob("images/*")))


FOUND = [path.parents[1] for path in sorted(ROOT.glob("photos/*/gt/cameras.json"))]
SETS = [folder for folder in sorted(FOUND, key=_n_photos)[:N_SETS] if 0 < _n_photos(folder) <= MAX_PHOTOS]
pytestmark = [
    pytest.mark.dataset,
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not SETS, reason=f"no photo set of at most {MAX_PHOTOS} photos below {ROOT}/photos"),
]


@dataclass(frozen=True, eq=False)
class Outcome:
    """What became of one set.

    Args:
        truth: its known cameras.
        extra: files beside the photos that are no photos.
        out: the output folder.
        scene: the result, None where it was refused.
        refusal: why.
    """

    truth: Truth
    extra: tuple[str, ...]
    out: Path
    scene: Scene | None
    refusal: str = ""

    def views(self) -> dict[str, View]:
        """Views by file name."""
        return {} if self.scene is None else {PurePosixPath(view.key).name: view for view in self.scene.views}


@pytest.fixture(scope="module", params=SETS or [ROOT], ids=lambda path: path.name)
def outcome(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """The set, reconstructed once together with its broken files."""
    folder: Path = request.param
    out = tmp_path_factory.mktemp(folder.name) / "out"
    truth = read_truth(folder / "gt/cameras.json")
    extra = tuple(sorted(path.name for path in folder.glob("extra/*")))
    source = [folder / name for name in ("images", "extra") if (folder / name).is_dir()]
    try:
        scene = reconstruct(source, out=out, sfm=QUICK, only="cameras", quiet=True)
    except ResultError as error:
        return Outcome(truth, extra, out, None, str(error))
    return Outcome(truth, extra, out, scene)


def test_refused_or_not_as_expected(outcome: Outcome) -> None:
    assert (outcome.scene is None) == outcome.truth.expect_refusal, outcome.refusal
    assert (outcome.out / "report.html").is_file()
    assert (outcome.out / "scene.json").exists() == (outcome.scene is not None)


def test_every_photo_is_registered_or_has_a_reason(outcome: Outcome) -> None:
    for name, view in outcome.views().items():
        assert view.status == "registered" or view.reason, name
    if outcome.scene is not None:
        assert set(outcome.truth.names) <= set(outcome.views())


def test_no_photo_of_another_scene_is_registered(outcome: Outcome) -> None:
    views = outcome.views()
    assert [name for name in outcome.truth.outliers if name in views and views[name].status == "registered"] == []


def test_cameras_agree_with_the_truth(outcome: Outcome) -> None:
    if outcome.scene is None:
        pytest.skip("refused")
    errors = evaluate_cameras(outcome.truth, Estimate.from_scene(outcome.scene))
    assert errors.n_registered >= MIN_PLACED * errors.n_photos
    # Relative poses, which need no alignment: centres on a short arc leave a rotation about their line undetermined.
    pairs = errors.n_registered * (errors.n_registered - 1) / (errors.n_photos * (errors.n_photos - 1))
    assert errors.rra_5 >= MIN_RRA_5 * pairs
    assert errors.auc[10] >= MIN_AUC_10 * pairs


def test_broken_files_are_named(outcome: Outcome) -> None:
    """In the scene by status and reason, and in the report of a refusal by name."""
    report = (outcome.out / "report.html").read_text(encoding="utf-8").replace("<wbr>", "")
    for name in outcome.extra:
        assert name in report
        if outcome.scene is not None:
            view = outcome.views()[name]
            assert view.status == "skipped" and view.reason


def test_saved_scene_can_be_read(outcome: Outcome) -> None:
    if outcome.scene is None:
        pytest.skip("refused")
    loaded = Scene.load(outcome.out)
    assert loaded.views == outcome.scene.views
    assert len(loaded.points) == len(outcome.scene.points)
