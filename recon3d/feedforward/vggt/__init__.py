"""VGGT: visual geometry grounded transformer (Wang et al. 2025): cameras, depth, points and tracks of a few photos."""
