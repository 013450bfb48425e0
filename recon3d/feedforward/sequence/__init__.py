"""Long videos and large sets of photos through a feed-forward network: in chunks with loops, or frame by frame."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recon3d.core.lazy import lazy_exports

if TYPE_CHECKING:
    from recon3d.feedforward.sequence.estimates import SequenceEstimates as SequenceEstimates
    from recon3d.feedforward.sequence.options import SequenceOptions as SequenceOptions
    from recon3d.feedforward.sequence.registration import (
        Registration as Registration,
        RegistrationOptions as RegistrationOptions,
        register as register,
    )
    from recon3d.feedforward.sequence.sequence import estimate_sequence as estimate_sequence
    from recon3d.feedforward.sequence.stream import (
        Stream as Stream,
        StreamEstimate as StreamEstimate,
        StreamOptions as StreamOptions,
    )

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "estimates": ["SequenceEstimates"],
        "options": ["SequenceOptions"],
        "registration": ["Registration", "RegistrationOptions", "register"],
        "sequence": ["estimate_sequence"],
        "stream": ["Stream", "StreamEstimate", "StreamOptions"],
    },
)
