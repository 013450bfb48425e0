"""Lite3R: sparse linear attention and low-precision linear layers for the feed-forward networks."""
