"""The viewer: a local server and a web page that draws splats, relights them, and shows mesh, points and photos.

``contents`` says what lies in a folder or file, ``app`` serves it and the page in ``static/``, ``launch`` starts the
server, ``export`` puts everything into one HTML file. The page draws in the browser; the server only hands out files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from recon3d.core.lazy import lazy_exports

if TYPE_CHECKING:
    from recon3d.apps.viewer.contents import Contents as Contents, read_contents as read_contents
    from recon3d.apps.viewer.export import export_page as export_page
    from recon3d.apps.viewer.launch import serve as serve

__getattr__, __dir__, __all__ = lazy_exports(
    __name__, {"contents": ["Contents", "read_contents"], "export": ["export_page"], "launch": ["serve"]}
)
