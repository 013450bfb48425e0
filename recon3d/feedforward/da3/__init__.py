"""Depth Anything 3 (Lin et al. 2025): depth and rays of any number of photos, metric depth of single ones."""
