"""The page in a real browser: every control once, damaged files, a lost server, large scenes, small screens."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.request import urlopen

import numpy as np
import pytest
from chromium import Page
from PIL import Image
from random_scenes import random_scene
from viewer_scenes import ball, save_relightable

from recon3d.apps.cli.main import main
from recon3d.formats.hdr import write_hdr
from recon3d.formats.ply import read_ply, write_ply
from recon3d.render.gaussians.files import save_gaussians
from recon3d.render.mesh import Mesh, save_mesh
from recon3d.scene_io import output_name

from .conftest import serving

pytestmark = pytest.mark.slow
Serve = Callable[[Path], str]
SETTLE = "new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)))"


@pytest.fixture(scope="module")
def scene_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reconstruction with photos, relightable splats, points, a mesh and an environment."""
    folder = tmp_path_factory.mktemp("scene") / "out"
    source = np.random.default_rng(0)
    scene = random_scene(3, n_views=4).save(folder)
    (folder / "images").mkdir()
    for row, view in enumerate(scene.registered):
        size = (int(scene.pinhole_cameras.width[row]), int(scene.pinhole_cameras.height[row]))
        Image.new("RGB", size, (60 * row, 120, 200)).save(folder / "images" / output_name(view.key))
    gaussians = ball(1500, degree=0)
    normals = gaussians.means.numpy() / np.linalg.norm(gaussians.means.numpy(), axis=1, keepdims=True)
    materials = (source.random((1500, 3)), source.uniform(0.1, 1, 1500), source.integers(0, 2, 1500).astype(float))
    save_relightable(folder / "splats.ply", gaussians, normals, *materials)
    vertices = source.normal(size=(3, 3)).astype(np.float32)
    save_mesh(folder / "mesh.glb", Mesh(vertices, np.array([[0, 1, 2]], np.int32), rgb=np.full((3, 3), 200, np.uint8)))
    write_hdr(folder / "sky.hdr", source.random((16, 32, 3)).astype(np.float32))
    scene.save(folder, ["splats.ply", "mesh.glb"])
    return folder


def brightness(page: Page) -> float:
    """Mean of the drawn picture, 0 to 1."""
    page.run(SETTLE)
    return float(
        page.run(
            "(() => { const { viewer } = __viewer.app; viewer.draw(1); const { gl } = viewer;"
            " const [w, h] = [gl.drawingBufferWidth, gl.drawingBufferHeight]; const out = new Uint8Array(4 * w * h);"
            " gl.readPixels(0, 0, w, h, gl.RGBA, gl.UNSIGNED_BYTE, out); let sum = 0;"
            " for (let i = 0; i < out.length; i++) sum += i % 4 < 3 ? out[i] : 0; return sum / (3 * w * h * 255); })()"
        )
    )


def shows_something(page: Page) -> bool:
    """Whether the splats make a difference to the picture."""
    seen = brightness(page)
    page.run("__viewer.app.viewer.visible.splats = false")
    empty = brightness(page)
    page.run("__viewer.app.viewer.visible.splats = true")
    return abs(seen - empty) > 0.002


def control(page: Page, name: str, value: object = None) -> None:
    """Use a control as a person does: click it, or give it a value."""
    if value is None:
        page.run(f"document.getElementById('{name}').click()")
    else:
        page.run(
            f"(() => {{ const it = document.getElementById('{name}'); it.value = {json.dumps(value)};"
            " it.dispatchEvent(new Event('input')); it.dispatchEvent(new Event('change')); })()"
        )
    page.run(SETTLE)


def camera(page: Page) -> dict[str, object]:
    found: dict[str, object] = page.run("__viewer.app.viewer.camera.save()")
    return found


@pytest.mark.timeout(200)
def test_every_control_once(page: Page, serve: Serve, scene_folder: Path, tmp_path: Path) -> None:
    page.send("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    assert page.open(serve(scene_folder)) == ""
    used: set[str] = set()

    def use(name: str, value: object = None) -> None:
        used.add(name)
        control(page, name, value)

    # light
    assert page.run("__viewer.app.light.name") == "sky.hdr"
    bright = brightness(page)
    use("exposure", 2)
    assert brightness(page) > bright + 0.01
    use("exposure", 0)
    for curve in ("agx", "aces", "reinhard", "srgb", "neutral"):
        use("curve", curve)
    use("environment", "sunset")
    assert page.run("__viewer.app.light.name") == "sunset"
    turned = [brightness(page)]
    for degrees in (120, 360):
        use("rotation", degrees)
        page.run(f"__viewer.app.light.turn({degrees})")  # beyond the slider's end as well
        turned.append(brightness(page))
    assert turned[0] != turned[1] and turned[0] == pytest.approx(turned[2], abs=2e-4)
    use("sky")
    assert brightness(page) != turned[2]
    use("sky")
    page.run("document.getElementById('environment-file').click = () => {}")
    use("open-environment")

    # what is shown
    modes = page.run("[...document.querySelectorAll('#modes button')].map((one) => one.dataset.value)")
    assert modes == ["colour", "relit", "albedo", "normal", "roughness", "metallic", "depth"]
    pictures = []
    for key, mode in enumerate(modes, 1):
        page.run("__viewer.app.viewer.canvas.focus()")
        page.key(str(key))
        page.run(SETTLE)
        assert page.run("__viewer.app.viewer.look.mode") == mode
        assert page.run("document.querySelector('#modes [aria-checked=true]').dataset.value") == mode
        pictures.append(brightness(page))
    assert len(set(pictures)) == len(pictures)
    page.run("document.querySelector('#modes [data-value=colour]').click()")
    used.add("modes")
    for layer in ("points", "mesh", "cameras"):
        use(f"layer-{layer}")
        page.run("new Promise((resolve) => setTimeout(resolve, 300))")
        assert page.run(f"__viewer.app.viewer.visible['{layer}'] && !!__viewer.app.viewer.layers['{layer}']")
    use("layer-splats")
    use("layer-splats")
    use("point-size", 6)
    use("antialiased")

    # camera
    before = camera(page)
    page.run("document.querySelector('#navigation [data-value=fly]').click()")
    used.add("navigation")
    page.drag((400, 400), (500, 430))
    after = camera(page)
    assert after["yaw"] != before["yaw"]
    page.key("v")
    eye = page.run("__viewer.app.viewer.camera.eye")
    page.drag((400, 400), (500, 430))
    assert page.run("__viewer.app.viewer.camera.eye") != eye
    assert camera(page)["target"] == after["target"]  # it turned around that
    page.drag((400, 400), (450, 400), button="right")
    assert camera(page)["target"] != after["target"]
    distance = camera(page)["distance"]
    page.mouse("mouseWheel", 400, 400, deltaX=0, deltaY=-120)
    page.run(SETTLE)
    assert camera(page)["distance"] < distance  # type: ignore[operator]
    place = camera(page)["target"]
    page.run("__viewer.app.viewer.canvas.dispatchEvent(new KeyboardEvent('keydown', { key: 'w' }))")
    page.run(
        "new Promise((resolve) => { const [x] = __viewer.app.viewer.camera.target; const look = () =>"
        " __viewer.app.viewer.camera.target[0] !== x ? resolve() : setTimeout(look, 20); look(); })"
    )
    page.run("__viewer.app.viewer.canvas.dispatchEvent(new KeyboardEvent('keyup', { key: 'w', bubbles: true }))")
    assert camera(page)["target"] != place
    use("fov", 30)
    assert camera(page)["fov"] == 30
    use("up", "0,1,0")
    assert camera(page)["up"] == [0, 1, 0]
    use("up-view")
    use("up", "0,0,1")
    use("tool-fit")

    # photos
    use("tool-photos")
    assert page.run("document.getElementById('strip').children.length") == 4
    page.run("document.getElementById('strip').children[2].click()")
    assert page.run("__viewer.app.photos.current") == 2
    page.key("]")
    assert page.run("__viewer.app.photos.current") == 3
    use("tool-compare")
    assert page.run("document.getElementById('photo').complete || true")
    seen, wanted = page.run(
        "(() => { const { viewer, photos } = __viewer.app; const one = photos.cameras[photos.current];"
        " return [viewer.cameraFor(one.width, one.height).K, one.K]; })()"
    )
    assert np.allclose(seen, wanted)
    use("tool-compare")

    # measure
    use("tool-fit")
    use("tool-measure")
    page.click(520, 400)
    page.click(600, 430)
    page.run(SETTLE)
    assert page.run("__viewer.app.measure.points.length") == 2
    assert page.run("__viewer.app.measure.distance") > 0
    page.run("document.getElementById('true-length').value = ''")
    used.add("true-length")
    use("set-scale")  # says what is missing; a scale is set in test_scale_from_a_measured_distance
    assert "true length" in page.run("document.getElementById('toasts').textContent")
    use("tool-measure")

    # crop
    use("tool-crop")
    for side, value in zip(("west", "east", "south", "north", "bottom", "top"), (0, 1, -1, 1, -1, 1), strict=True):
        use(f"crop-{side}", value)
    use("save-crop")
    use("tool-crop")
    kept = page.run("(() => { const { crop, scene } = __viewer.app; return [...crop.inside(scene.table)]; })()")
    page.run("new Promise((resolve) => setTimeout(resolve, 500))")
    saved = read_ply(tmp_path / "out_cropped.ply").vertices
    assert 0 < len(saved["x"]) == sum(kept) < 1500
    whole = read_ply(scene_folder / "splats.ply").vertices
    assert all(np.array_equal(saved[name], whole[name][np.array(kept, bool)]) for name in whole)

    # capture, help, panel
    use("tool-shot")
    page.run("new Promise((resolve) => setTimeout(resolve, 500))")
    assert Image.open(tmp_path / "out.png").size == (1280, 800)
    size = page.run(
        "import('./static/capture.js').then(({ turntable }) => turntable(__viewer.app.viewer, 'turn', 0.6))"
        ".then((blob) => blob ? blob.size : 0)"
    )
    assert size > 1000
    use("tool-help")
    assert page.run("document.getElementById('help').open")
    use("help-close")
    use("tool-panel")
    use("tool-panel")

    skipped = {"file-splats", "file-points", "file-mesh", "failure-retry", "environment-file", "tool-video"}
    every = page.run(
        "[...document.querySelectorAll('button[id], input[id], select[id], [role=radiogroup]')].map((one) => one.id)"
    )
    assert set(every) - used - skipped == set()


def test_scale_from_a_measured_distance(page: Page, serve: Serve, scene_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(scene_folder, tmp_path / "copy")
    assert page.open(serve(tmp_path / "copy")) == ""
    radius = page.run("__viewer.app.viewer.splatExtent.radius")
    page.run("__viewer.app.measure.distance = 2; document.getElementById('true-length').value = '5'")
    page.run("__viewer.app.measure.setScale()")
    assert page.run("__viewer.app.viewer.splatExtent.radius") == pytest.approx(2.5 * radius, rel=1e-4)
    assert page.run("__viewer.app.contents.scale.unit") == "m"
    assert json.loads((tmp_path / "copy" / "scene.json").read_text())["scale"]["kind"] == "metric"


def test_splats_as_spz_look_like_the_ply(page: Page, serve: Serve, tmp_path: Path) -> None:
    gaussians = ball(800, degree=2)
    save_gaussians(tmp_path / "a.ply", gaussians)
    save_gaussians(tmp_path / "a.spz", gaussians)
    values = []
    for name in ("a.ply", "a.spz"):
        with serving_file(tmp_path / name) as address:
            assert page.open(address) == ""
            page.run("__viewer.app.viewer.layers.splats.sortNow(__viewer.app.viewer.cameraFor(1280, 800))")
            values.append(brightness(page))
    assert values[0] == pytest.approx(values[1], rel=0.01)
    assert page.run("document.getElementById('facts').textContent").startswith("800 splats")


def serving_file(path: Path):  # type: ignore[no-untyped-def]
    from recon3d.apps.viewer.contents import read_contents

    return serving(read_contents(path))


@pytest.mark.parametrize(
    ("name", "damage", "told"),
    [
        ("a.ply", lambda data: data[: len(data) // 2], "ends too early"),
        ("a.ply", lambda data: data.replace(b"f_dc_0", b"f_dx_0"), "no property f_dc_0"),
        ("a.ply", lambda data: data[:-4] + b"\xff\xff\xff\x7f", "not finite"),
        ("a.spz", lambda data: data[: len(data) // 2], "damaged"),
        ("a.glb", lambda data: data[: len(data) // 2], "damaged"),
        ("b.glb", lambda data: b"x" * 100, "not a GLB file"),
    ],
)
def test_a_damaged_file_is_said(
    page: Page, tmp_path: Path, name: str, damage: Callable[[bytes], bytes], told: str
) -> None:
    path = tmp_path / name
    if name.endswith("glb"):
        triangle = np.eye(3, dtype=np.float32)
        save_mesh(path, Mesh(triangle, np.array([[0, 1, 2]], np.int32)))
    else:
        save_gaussians(path, ball(50, degree=0))
    path.write_bytes(damage(path.read_bytes()))
    with serving_file(path) as address:
        assert told in page.open(address)
    assert page.run("!document.getElementById('failure').hidden && document.getElementById('loading').hidden")
    assert told in page.run("document.getElementById('failure-text').textContent")
    page.complaints.clear()


def test_a_lost_server_is_said(page: Page, scene_folder: Path) -> None:
    from recon3d.apps.viewer.contents import read_contents

    with serving(read_contents(scene_folder)) as address:
        assert page.open(address) == ""
    page.run("__viewer.app.showLayer('mesh', true)")
    assert "does not answer" in page.run("document.getElementById('toasts').textContent")
    assert page.run("!document.getElementById('layer-mesh').checked")
    page.run(
        "new Promise((resolve) => { const look = () =>"
        " document.getElementById('lost') ? resolve() : setTimeout(look, 50); look(); })"
    )
    assert "server has stopped" in page.run("document.getElementById('lost').textContent")
    assert shows_something(page)  # what was loaded is still there
    page.complaints.clear()


@pytest.mark.timeout(200)
def test_half_a_million_splats_load(page: Page, serve: Serve, tmp_path: Path) -> None:
    n = 500_000
    source = np.random.default_rng(0)
    names = ["x", "y", "z", *(f"f_dc_{k}" for k in range(3)), "opacity", *(f"scale_{k}" for k in range(3))]
    columns = {name: source.normal(size=n).astype(np.float32) for name in names}
    columns |= {f"scale_{k}": source.normal(-6.0, 0.3, n).astype(np.float32) for k in range(3)}
    columns |= {f"rot_{k}": source.normal(size=n).astype(np.float32) for k in range(4)}
    write_ply(tmp_path / "large.ply", columns)
    assert page.open(serve(tmp_path / "large.ply")) == ""
    assert page.run("__viewer.app.loadSeconds") < 60
    page.run("void __viewer.time(1)")
    assert shows_something(page)
    facts = page.run("document.getElementById('facts').textContent")
    assert facts.startswith("500\u202f000 splats") and "loaded in" in facts


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (390, 844)])
def test_nothing_is_cut_off(page: Page, serve: Serve, scene_folder: Path, width: int, height: int) -> None:
    page.resize(width, height, mobile=width < 500)
    assert page.open(serve(scene_folder)) == ""
    page.run(SETTLE)
    wide = "document.documentElement.scrollWidth <= innerWidth"
    boxes = (
        "[...document.querySelectorAll('#bar, #tools button, .with-panel #panel')].every((one) => {"
        " const box = one.getBoundingClientRect();"
        " return box.left >= -1 && box.right <= innerWidth + 1 && box.top >= -1 && box.bottom <= innerHeight + 1; })"
    )
    assert page.run(wide) and page.run(boxes)
    assert page.run("document.body.classList.contains('with-panel')") == (width > 720)
    if width < 720:
        control(page, "tool-panel")
        assert page.run(wide) and page.run(boxes)


def test_keys_reach_every_tool(page: Page, serve: Serve, scene_folder: Path) -> None:
    assert page.open(serve(scene_folder)) == ""
    named = (
        "[...document.querySelectorAll('button, input:not([hidden]), select')].filter((one) => !(one.textContent.trim()"
    )
    named += " || one.getAttribute('aria-label') || one.labels?.[0]?.textContent.trim() || one.title))"
    named += ".map((one) => one.outerHTML)"
    assert page.run(named) == []
    page.run("__viewer.app.viewer.canvas.focus()")
    for key, shown in (
        ("m", "__viewer.app.measure.active"),
        ("b", "__viewer.app.crop.active"),
        ("c", "__viewer.app.photos.isComparing"),
    ):
        page.key(key)
        assert page.run(shown), key
    page.key("Escape")
    assert not page.run("__viewer.app.photos.isComparing || __viewer.app.crop.active")
    page.key("h")
    assert page.run("document.getElementById('help').open")


def test_an_exported_page_needs_no_server(page: Page, scene_folder: Path, tmp_path: Path) -> None:
    assert main(["view", str(scene_folder), "--export", str(tmp_path / "page.html")]) == 0
    assert page.open((tmp_path / "page.html").as_uri()) == ""
    page.run(SETTLE)
    assert page.run("__viewer.app.scene.counts.splats") == 1500
    assert page.run("__viewer.app.light.name") == "sky.hdr"
    assert shows_something(page)
    control(page, "layer-mesh")
    assert page.run("new Promise((resolve) => setTimeout(() => resolve(!!__viewer.app.viewer.layers.mesh), 500))")
    page.run("__viewer.app.photos.compare(true)")
    assert page.run("document.getElementById('photo').decode().then(() => true)")


def test_the_command_prints_the_address_and_ends(scene_folder: Path) -> None:
    command = [sys.executable, "-m", "recon3d", "view", str(scene_folder), "--no-browser", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    text = "".join(process.stdout.readline() for _ in range(3))
    address = json.loads(text)["address"]
    assert address.startswith("http://127.0.0.1:")
    with urlopen(address, timeout=20) as answer:
        assert b"<canvas" in answer.read()
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 0
    assert process.stderr is not None and process.stderr.read() == ""
