"""Layer normalisation with timm's defaults."""

import keras


class LayerNorm(keras.layers.LayerNormalization):
    """https://arxiv.org/abs/1607.06450; timm's `layers/norm.py`.

    Args:
        eps: Added to the variance. timm's default; Keras's own is a thousand times it.
    """

    def __init__(self, eps: float = 1e-6, **kwargs):
        super().__init__(epsilon=eps, **kwargs)
        self.eps = eps
