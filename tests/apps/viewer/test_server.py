"""The server: who may ask, what it hands out, and what it refuses."""

from __future__ import annotations

import builtins
import http.client
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from random_scenes import random_scene

from recon3d.apps.viewer.contents import read_contents
from recon3d.apps.viewer.launch import check_extra, make_server
from recon3d.core.errors import DependencyError, InputError, UsageError
from recon3d.formats.exr import write_exr
from recon3d.formats.ply import write_ply

Serve = Callable[[Path], str]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with points, a photo-like file, a secret beside it, and a link to the secret."""
    inside = tmp_path / "open"
    inside.mkdir()
    xyz = np.random.default_rng(0).random((5, 3)).astype(np.float32)
    write_ply(inside / "points.ply", dict(zip("xyz", xyz.T, strict=True)))
    (inside / "deep").mkdir()
    (inside / "deep" / "ä b.txt").write_bytes(bytes(range(200)))
    (inside / ".recon3d").mkdir()
    (inside / ".recon3d" / "work").write_text("work")
    (tmp_path / "secret.txt").write_text("secret")
    (inside / "link.txt").symlink_to(tmp_path / "secret.txt")
    return inside


def ask(address: str, path: str = "", method: str = "GET", body: bytes = b"", **headers: str) -> tuple[int, bytes, Any]:
    """Send a request whose path is taken as it is, without tidying."""
    parts = urlsplit(address)
    connection = http.client.HTTPConnection(parts.netloc, timeout=20)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path if path.startswith("//") else parts.path + path, body or None, named)
    answer = connection.getresponse()
    data = answer.read()
    connection.close()
    return answer.status, data, answer.headers


def test_the_page_and_the_contents_are_served(serve: Serve, folder: Path) -> None:
    address = serve(folder)
    status, page, headers = ask(address)
    assert status == 200 and b"<canvas" in page
    assert "default-src 'none'" in headers["content-security-policy"]
    status, document, _ = ask(address, "contents.json")
    assert [item["path"] for item in json.loads(document)["items"]] == ["points.ply"]
    status, script, headers = ask(address, "static/main.js")
    assert status == 200 and headers["content-type"].startswith("text/javascript") and b"import" in script


@pytest.mark.parametrize(
    ("headers", "path"),
    [
        ({"Host": "example.org"}, ""),
        ({"Host": "127.0.0.1"}, ""),  # without the port it is another server
        ({"Origin": "https://example.org"}, "contents.json"),
        ({"Origin": "null"}, "contents.json"),
    ],
)
def test_foreign_requests_are_refused(serve: Serve, folder: Path, headers: dict[str, str], path: str) -> None:
    status, _, _ = ask(serve(folder), path, **headers)
    assert status == 403


def test_without_the_token_nothing_is_served(serve: Serve, folder: Path) -> None:
    address = serve(folder)
    root = f"http://{urlsplit(address).netloc}"
    for path in ("/", "/contents.json", "/static/main.js", "/files/points.ply", "/secret-of-the-test/contents.json"):
        assert ask(root, path)[0] == 403, path
    assert ask(address[:-1])[0] == 307  # to the address with its last slash
    assert ask(address, "contents.json", Origin=root)[0] == 200


@pytest.mark.parametrize(
    "path",
    [
        "../secret.txt",
        "..%2fsecret.txt",
        "%2e%2e/secret.txt",
        "deep/../../secret.txt",
        "deep/..%2f..%2fsecret.txt",
        "//etc/passwd",
        "%2fetc/passwd",
        "..%5csecret.txt",
        "link.txt",
        ".recon3d/work",
        "nothing.txt",
        "deep",
        "points.ply%00.txt",
    ],
)
def test_only_files_of_the_folder_are_served(serve: Serve, folder: Path, path: str) -> None:
    status, data, _ = ask(serve(folder), f"files/{path}")
    assert status in (403, 404) and b"secret" not in data.replace(b"secret.txt", b"")


@pytest.mark.parametrize("name", ["../app.py", "..%2fapp.py", "nothing.js", "index.html/.."])
def test_only_the_page_is_static(serve: Serve, folder: Path, name: str) -> None:
    assert ask(serve(folder), f"static/{name}")[0] == 404


def test_a_single_file_opens_nothing_beside_it(serve: Serve, folder: Path) -> None:
    address = serve(folder / "points.ply")
    assert ask(address, "files/points.ply")[0] == 200
    assert ask(address, "files/deep/%C3%A4%20b.txt")[0] == 404


def test_files_come_in_parts(serve: Serve, folder: Path) -> None:
    address, path = serve(folder), "files/deep/%C3%A4%20b.txt"
    status, data, headers = ask(address, path)
    assert (status, data, headers["accept-ranges"]) == (200, bytes(range(200)), "bytes")
    status, data, headers = ask(address, path, Range="bytes=10-19")
    assert (status, data, headers["content-range"]) == (206, bytes(range(10, 20)), "bytes 10-19/200")
    assert ask(address, path, Range="bytes=190-")[:2] == (206, bytes(range(190, 200)))
    assert ask(address, path, Range="bytes=300-")[0] == 416


def test_an_exr_environment_comes_as_floats(serve: Serve, folder: Path) -> None:
    rgb = np.random.default_rng(1).gamma(1.0, 2.0, (4, 8, 3)).astype(np.float32)
    rgb[0, 0, 0], rgb[0, 1, 1] = -1.0, np.inf
    write_exr(folder / "light.exr", {name: rgb[..., k] for k, name in enumerate("RGB")})
    address = serve(folder)
    status, data, _ = ask(address, "environments/light.exr")
    assert status == 200
    assert np.frombuffer(data[:8], "<u4").tolist() == [8, 4]
    rgb[0, 0, 0], rgb[0, 1, 1] = 0.0, 65504.0
    assert np.array_equal(np.frombuffer(data[8:], "<f4").reshape(4, 8, 3), rgb)
    (folder / "light.exr").write_bytes(b"no picture")
    status, text, _ = ask(address, "environments/light.exr")
    assert status == 422 and b"light.exr" in text


def test_the_scale_is_set_in_every_file(serve: Serve, tmp_path: Path) -> None:
    from recon3d.scene import Scene
    from recon3d.scene_io import check_files

    before = random_scene(3, n_views=4).save(tmp_path / "out")
    write_ply(tmp_path / "out" / "splats.ply", {name: np.ones(3, np.float32) for name in ("x", "y", "z", "scale_0")})
    before = before.save(tmp_path / "out", ["splats.ply"])
    address = serve(tmp_path / "out")
    status, data, _ = ask(address, "scale", "POST", json.dumps({"world": 2.0, "metres": 5.0}).encode())
    assert status == 200 and json.loads(data)["factor"] == 2.5
    after = Scene.load(tmp_path / "out")
    assert (after.scale.kind, after.scale.unit) == ("metric", "m")
    assert np.allclose(after.points.xyz, 2.5 * before.points.xyz)
    assert np.allclose(after.pinhole_cameras.centers, 2.5 * before.pinhole_cameras.centers)
    assert check_files(tmp_path / "out") == ()
    from recon3d.formats.ply import read_ply

    splats = read_ply(tmp_path / "out" / "splats.ply").vertices
    assert splats["x"][0] == 2.5 and np.isclose(splats["scale_0"][0], 1 + np.log(2.5))
    assert not list((tmp_path / "out").glob(".rescale*"))


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'{"world": 0, "metres": 1}', b'{"world": 1}', b'{"world": 1, "metres": -2}']
)
def test_a_bad_scale_changes_nothing(serve: Serve, tmp_path: Path, body: bytes) -> None:
    random_scene(3, n_views=4).save(tmp_path / "out")
    before = (tmp_path / "out" / "scene.json").read_bytes()
    assert ask(serve(tmp_path / "out"), "scale", "POST", body)[0] == 422
    assert (tmp_path / "out" / "scene.json").read_bytes() == before


def test_a_single_file_has_no_scale_to_set(serve: Serve, folder: Path) -> None:
    status, text, _ = ask(serve(folder / "points.ply"), "scale", "POST", b'{"world": 1, "metres": 1}')
    assert status == 422 and b"single file" in text


def test_what_cannot_be_shown_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nothing", tmp_path / "a.txt"):
        if path.suffix:
            path.write_text("")
        with pytest.raises(InputError, match=r"recon3d reconstruct"):
            read_contents(path)


def test_a_missing_extra_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    load = builtins.__import__

    def refuse(name: str, *rest: Any, **more: Any) -> Any:
        if name == "fastapi":
            raise ImportError("no fastapi")
        return load(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(DependencyError, match=r"pip install 'recon3d\[viewer\]'"):
        check_extra()


def test_a_port_that_is_taken_is_one_error(folder: Path) -> None:
    _, listener, address = make_server(read_contents(folder))
    with listener, pytest.raises(UsageError, match="choose another --port"):
        make_server(read_contents(folder), port=urlsplit(address).port or 0)
    with pytest.raises(UsageError, match="out of range"):
        make_server(read_contents(folder), port=70000)


def test_every_token_is_new(folder: Path) -> None:
    addresses = []
    for _ in range(2):
        _, listener, address = make_server(read_contents(folder))
        listener.close()
        addresses.append(urlsplit(address).path)
    assert addresses[0] != addresses[1] and all(len(path) > 20 for path in addresses)


def test_unreadable_files_do_not_stop_the_folder(folder: Path) -> None:
    (folder / "broken.ply").write_bytes(b"")
    names = [item.path for item in read_contents(folder).items]
    assert "points.ply" in names
    assert os.listdir(folder)
