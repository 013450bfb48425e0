"""The public checkpoints that recon3d loads: address, licence, size and checksum.

Sizes and checksums come from public projects that pin these files, at least two for each; nobody here has downloaded
them. The sizes equal, to the byte, those of files with the names and shapes of our networks.
"""

from __future__ import annotations

from dataclasses import dataclass

from recon3d.core.errors import UsageError

DELTA = "-lite3r"  # ends the name of weights that are only what Lite3R adds to a network
_HOST = "https://huggingface.co"


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A published file of weights.

    Args:
        model: network that it belongs to, a name of :func:`recon3d.feedforward.build_model`.
        repository: owner and name of its page.
        revision: state of that page which the size and the checksum belong to.
        licence: of the weights, not of the code.
        size: in bytes.
        sha256: of the file; None = not known here, recorded at the first fetch and compared from then on.
        gated: whether its page gives it only to people who asked.
        note: what else there is to know.
    """

    model: str
    repository: str
    revision: str
    licence: str
    size: int
    sha256: str | None
    gated: bool = False
    note: str = ""

    @property
    def page(self) -> str:
        """Its public page."""
        return f"{_HOST}/{self.repository}"

    @property
    def url(self) -> str:
        """Where the file lies."""
        return f"{self.page}/resolve/{self.revision}/model.safetensors"


_APACHE, _NON_COMMERCIAL = "Apache-2.0", "CC BY-NC 4.0"

CHECKPOINTS: dict[str, Checkpoint] = {
    "vggt-1b": Checkpoint(
        model="vggt-1b",
        repository="facebook/VGGT-1B",
        revision="860abec7937da0a4c03c41d3c269c366e82abdf9",
        licence=_NON_COMMERCIAL,
        size=5_026_367_224,
        sha256="f164acf60724910d8fe1578bb499d800850c7bb0948db7555c413f9fbe60467e",
    ),
    "vggt-1b-commercial": Checkpoint(
        model="vggt-1b",
        repository="facebook/VGGT-1B-Commercial",
        revision="ebb29a532abe92960eeb6903a5530f16990ef4ab",
        licence="VGGT licence",
        size=5_026_367_224,
        sha256="2b766b284359bc47ce26be107254621f685b758a0282082ff109f3ff02788b53",
        gated=True,
        note="commercial but not military use; given on request",
    ),
    "da3-small": Checkpoint(
        model="da3-small",
        repository="depth-anything/DA3-SMALL",
        revision="e08cab65ca0ec38e7826075418411ab90cab4da3",
        licence=_APACHE,
        size=137_248_940,
        sha256="364492e38a3a06d221ac75da7f6621ada3f2361cd24fde11ba79091e9f40efcf",
    ),
    "da3-base": Checkpoint(
        model="da3-base",
        repository="depth-anything/DA3-BASE",
        revision="f4a6c9b3c95e41c82048423d3493a81ec3fa810e",
        licence=_APACHE,
        size=541_518_028,
        sha256="e01067dc1659613083d9145a9a2547ccdbe6ccbbf83c4fe7b3e8a4e2bdae78b5",
    ),
    "da3-large": Checkpoint(
        model="da3-large",
        repository="depth-anything/DA3-LARGE-1.1",
        revision="0e109ae307c5982f319a67cf6f9f99ccdc0ec97c",
        licence=_NON_COMMERCIAL,
        size=1_643_843_860,
        sha256="739905c423cf0d6ccaf9e61a8401d82ba1ac32d7f4d3ee6dca8f92b377633f64",
        note="release 1.1; Apache-2.0 by its page, not by the authors' table",
    ),
    "da3-giant": Checkpoint(
        model="da3-giant",
        repository="depth-anything/DA3-GIANT-1.1",
        revision="72ee9f89ce4e50d704e9d55ee9c646ec8dc25a19",
        licence=_NON_COMMERCIAL,
        size=5_422_814_644,
        sha256="1e47a08338ca73a6d6a21d37fd060b26b993b672bc6ddf6295fe474df2592001",
        note="release 1.1",
    ),
    "da3metric-large": Checkpoint(
        model="da3metric-large",
        repository="depth-anything/DA3METRIC-LARGE",
        revision="4010e39f3634a45bc60553321fb49fb760bd594e",
        licence=_APACHE,
        size=1_336_734_448,
        sha256="bbea5b0b3ee389849cffa7ddae89de064a90abd2b055fc5aa99aac68db324776",
        note="depth in metres of single photos",
    ),
    "da3mono-large": Checkpoint(
        model="da3mono-large",
        repository="depth-anything/DA3MONO-LARGE",
        revision="f465978e618db8cc79c83b8bbf24964857db1875",
        licence=_APACHE,
        size=1_336_734_448,
        sha256="7a799a7f95eb8d4c404c2ca8be3dc3276b350a417ddc4420db72ba850cc0e960",
        note="relative depth of single photos",
    ),
    "da3nested-giant-large": Checkpoint(
        model="da3nested-giant-large",
        repository="depth-anything/DA3NESTED-GIANT-LARGE-1.1",
        revision="b2359bdf726fb44ef62acca04d629dcf158053e7",
        licence=_NON_COMMERCIAL,
        size=6_759_558_100,
        sha256="8ebe871a022ed58d2fc8fdfb2ebdb31d57b60fe39611c849095851a7b7c6020c",
        note="release 1.1",
    ),
}


def checkpoint_named(name: str) -> Checkpoint:
    """Return a published checkpoint.

    Raises:
        UsageError: there is none of this name.
    """
    if name not in CHECKPOINTS:
        raise UsageError("no public weights of this name are known", got=name, expected=", ".join(CHECKPOINTS))
    return CHECKPOINTS[name]


def model_of(name: str) -> str:
    """Return the network that weights belong to, a name of :func:`recon3d.feedforward.build_model`."""
    return CHECKPOINTS[name].model if name in CHECKPOINTS else name.removesuffix(DELTA)
