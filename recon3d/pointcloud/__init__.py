"""Networks on point clouds: voxels, sparse convolution, FlatFormer, Volt, SparseUNet, PonderV2 and their metrics.

Empty in this version; the room is kept so that its place in the layers is fixed: it may import ``render``, ``formats``
and ``core``, and only the reconstruction rooms and ``apps`` may import it.
"""
