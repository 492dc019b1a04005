"""The checkpoints of "How to train your ViT?" (https://arxiv.org/abs/2106.10270)."""
