"""Byte codecs, numpy in and out: COLMAP models, transforms.json, TUM trajectories and PLY.

Readers are for files from anywhere: whatever the bytes, they return or raise ``recon3d.core.errors.FormatError``, in
memory bounded by a small multiple of the file. Writers replace files atomically.
"""
