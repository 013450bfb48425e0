"""Optimisation of 3D Gaussians from a scene."""
