"""Vision-transformer and DPT building blocks that VGGT and Depth Anything 3 share; flags tell the models apart."""
