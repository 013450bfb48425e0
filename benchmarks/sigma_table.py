"""Learn sigma by confidence for a network on generated scenes, and check it on others.

    python benchmarks/sigma_table.py recon3d-small WEIGHTS --out recon3d/feedforward/data/recon3d-small-sigma.json

Prints, for scenes that the table was not learned on, the share of errors within one and within two sigmas (68 % and
95 % for a normal distribution).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from recon3d.feedforward.engine.calibration import learn_table, relative_errors, save_table
from recon3d.feedforward.engine.network import choose_weights, load_network
from recon3d.feedforward.engine.views import working_size
from recon3d.feedforward.scenes import SceneOptions, generate_views

LEARN_SEED, CHECK_SEED = 900_001, 900_002


def main() -> None:
    """Learn, check, write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model")
    parser.add_argument("weights", type=Path)
    parser.add_argument("--scenes", type=int, default=40)
    parser.add_argument("--views", type=int, default=4)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    network = load_network(choose_weights(given.model, given.weights)).network
    side = working_size(network)
    options = SceneOptions(height=side, width=side)
    learned, checked = (
        generate_views(seed, given.scenes, options, n_views=given.views) for seed in (LEARN_SEED, CHECK_SEED)
    )
    table = learn_table(network, [learned], f"truth of {given.scenes} generated scenes")
    print(table)
    parts = [relative_errors(network, checked, row) for row in range(given.scenes)]
    confidence, error = (np.concatenate(some) for some in zip(*parts, strict=True))
    sigma = table.sigma(np.ones(len(confidence), np.float32), confidence.astype(np.float32))
    within = {k: float((np.abs(error) <= k * sigma).mean()) for k in (1, 2)}
    print(f"other scenes: {within[1]:.1%} within one sigma, {within[2]:.1%} within two, of {len(error):,} pixels")
    if given.out:
        save_table(given.out, table, given.weights)


if __name__ == "__main__":
    main()
