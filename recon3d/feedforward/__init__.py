"""Feed-forward reconstruction: VGGT and Depth Anything 3 networks on one ViT/DPT library, their weights, and Lite3R."""
