"""Numba kernels: the matching of KITTI's object benchmark, truth by truth in the order of the label file.

Roles of truths and detections: 0 counts, 1 may be matched but neither helps nor harms, -1 has no part.
"""

from __future__ import annotations

from typing import no_type_check

import numpy as np

from recon3d.core.kernels import kernel


@kernel(order="written")
@no_type_check
def hit_scores(overlaps, scores, truth_roles, roles, least):
    """Return the scores of the detections that hit a truth, each truth taking the surest that overlaps it enough.

    Args:
        overlaps: of detections and truths ``[d,t]``.
        scores: of the detections ``[d]``.
        truth_roles: ``[t]``.
        roles: of the detections ``[d]``.
        least: overlap that a match must exceed.
    """
    taken = np.zeros(len(scores), np.bool_)
    hits = np.zeros(len(truth_roles))
    count = 0
    for truth in range(len(truth_roles)):
        best = -1
        for row in range(len(scores)):
            usable = truth_roles[truth] >= 0 and roles[row] >= 0 and not taken[row]
            if usable and overlaps[row, truth] > least and (best < 0 or scores[row] > scores[best]):
                best = row
        if best >= 0:
            taken[best] = True
            if truth_roles[truth] == 0 and roles[best] == 0:
                hits[count] = scores[best]
                count += 1
    return hits[:count]


@kernel(order="written")
@no_type_check
def count_at_thresholds(overlaps, dont_care, scores, truth_roles, roles, turns, least, thresholds, sums):
    """Add the hits, the false positives and the orientation similarity of one frame at each threshold of the score.

    Args:
        overlaps: of detections and truths ``[d,t]``.
        dont_care: share of each detection inside each region that nobody labelled ``[d,r]``.
        scores: of the detections ``[d]``.
        truth_roles: ``[t]``.
        roles: of the detections ``[d]``.
        turns: orientation similarity, 0..1, ``[d,t]``.
        least: overlap that a match must exceed.
        thresholds: of the score ``[k]``.
        sums: hits, false positives, similarity ``[k,3]``.
    """
    taken = np.zeros(len(scores), np.bool_)
    for step in range(len(thresholds)):
        for row in range(len(scores)):
            taken[row] = roles[row] < 0 or scores[row] < thresholds[step]
        for truth in range(len(truth_roles)):
            best = _fitting(overlaps, truth, roles, taken, least) if truth_roles[truth] >= 0 else -1
            if best >= 0:
                taken[best] = True
                if truth_roles[truth] == 0 and roles[best] == 0:
                    sums[step, 0] += 1
                    sums[step, 2] += turns[best, truth]
        for row in range(len(scores)):
            if not taken[row] and roles[row] == 0 and not _inside(dont_care, row, least):
                sums[step, 1] += 1


@kernel(order="written", inline=True)
@no_type_check
def _fitting(overlaps, truth, roles, taken, least):
    """Return the detection that overlaps a truth most; one that does not count only where no other overlaps it."""
    best = -1
    for row in range(len(roles)):
        if not taken[row] and overlaps[row, truth] > least:
            better = roles[row] == 0 and (roles[best] == 1 or overlaps[row, truth] > overlaps[best, truth])
            best = row if best < 0 or better else best
    return best


@kernel(order="written", inline=True)
@no_type_check
def _inside(dont_care, row, least):
    inside = False
    for region in range(dont_care.shape[1]):
        inside |= dont_care[row, region] > least
    return inside
