"""Where a detector looked: what the explainer ensemble answers, checked."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from client.errors import BadResponse
from client.judge import Scores


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Exact Grad-CAM (Selvaraju et al., ICCV 2017) of one clip's logit, fake minus real."""

    heatmaps: NDArray[np.float32]
    """(T, S, S), 0 and above: what raised the score, in parts of the logit; comparable between the frames of a clip, not between clips.
    One value stands for 32 by 32 pixels of the crop."""
    evidence: NDArray[np.float32]
    """(T, S, S): the same with sign; what is negative lowered the score. ``heatmaps`` is its positive part."""
    scores: Scores
    """Of the explainer itself, which computes in fp32; an INT8 detector's differ in the third decimal or so."""


def check_maps(heatmaps: NDArray[np.float32], evidence: NDArray[np.float32], frames: int, url: str) -> None:
    """Raises:
    BadResponse: They are no maps of this many frames.
    """
    for name, values in (("HEATMAPS", heatmaps), ("EVIDENCE", evidence)):
        if values.ndim != 3 or len(values) != frames or values.shape[1] != values.shape[2] or not values.size:
            raise BadResponse(f"{url} answered {name} with shape {values.shape}; for {frames} frames it is ({frames}, S, S)")
        if not np.isfinite(values).all():
            raise BadResponse(f"{url} answered {name} with values that are not finite; export the weights again")
