"""The feed-forward part of a transformer block; timm's `layers/mlp.py`.

Inside, tokens are the rows of a matrix, (B*N, C): only there does TensorFlow join a
product, its bias and the activation in one operation.
"""

import functools

import keras
import tensorflow as tf

from vit_tf.layers.activations import act_layer
from vit_tf.layers.identity import Identity
from vit_tf.layers.initializers import HalfGate, Normal
from vit_tf.layers.module import Module
from vit_tf.layers.norm import norm_layer
from vit_tf.layers.sizes import size

GATE_STDDEV = 1e-6  # a new gate has next to no weight, and a bias of one


class Mlp(Module):
    """Two projections with an activation between them.

    Args:
        hidden_features: Width between the two.
        act_layer: timm's name of the activation.
        norm_layer: The norm before the second projection, as text; None for none.
        bias: Whether the projections have one.
        drop: Dropout rate behind each.
    """

    def __init__(
        self,
        hidden_features: int,
        act_layer: str = "gelu",
        norm_layer: str | None = None,
        bias: bool = True,
        drop: float = 0.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.hidden_features = hidden_features
        self.act_layer = act_layer
        self.norm_layer = norm_layer
        self.bias = bias
        self.drop = drop

    def build(self, input_shape):
        self.dim, dtype = input_shape[-1], self.dtype_policy
        self._build_fc1()
        self.act = act_layer(self.act_layer, dtype)
        self.drop1 = keras.layers.Dropout(self.drop, dtype=dtype, name="drop1")
        norm = norm_layer(self.norm_layer) if self.norm_layer else Identity
        self.norm = norm(dtype=dtype, name="norm")
        self.fc2 = self._dense(self.dim, "fc2")
        self.drop2 = keras.layers.Dropout(self.drop, dtype=dtype, name="drop2")
        for layer in (self.act, self.drop1, self.norm, self.fc2):
            layer.build((None, self.inner_features))
        self.drop2.build((None, self.dim))

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        N = size(x, 1)
        x = tf.reshape(x, (-1, self.dim))  # (B, N, C) -> (B*N, C)
        x = self._activated(x)  # (B*N, hidden)
        x = self.drop1(x, training=training)
        x = self.norm(x)
        x = self.fc2(x)  # (B*N, C)
        x = self.drop2(x, training=training)
        return tf.reshape(x, (-1, N, self.dim))

    def compute_output_shape(self, input_shape):
        return input_shape

    @property
    def inner_features(self) -> int:
        """How wide the second projection's input is."""
        return self.hidden_features

    def _build_fc1(self) -> None:
        self.fc1 = self._dense(self.hidden_features, "fc1")
        self.fc1.build((None, self.dim))

    def _activated(self, x: tf.Tensor) -> tf.Tensor:
        return self.act(self.fc1(x))

    def _dense(
        self,
        units: int,
        name: str,
        weight: keras.initializers.Initializer | None = None,
        bias: keras.initializers.Initializer | str = "zeros",
    ) -> keras.layers.Dense:
        return keras.layers.Dense(
            units, use_bias=self.bias, kernel_initializer=weight or Normal(),
            bias_initializer=bias, dtype=self.dtype_policy, name=name,
        )  # fmt: skip


class GluMlp(Mlp):
    """One half of the hidden layer gates the other (https://arxiv.org/abs/2002.05202).

    Args:
        hidden_features: Width of the first projection: both halves; even.
        act_layer: timm's name of the gate's activation.
        gate_last: Whether the second half is the gate.
        **kwargs: Those of `Mlp`.

    Raises:
        ValueError: if `hidden_features` is odd.
    """

    def __init__(
        self,
        hidden_features: int,
        act_layer: str = "sigmoid",
        gate_last: bool = True,
        **kwargs,
    ):
        super().__init__(hidden_features, act_layer, **kwargs)
        if hidden_features % 2:
            raise ValueError(
                f"hidden_features={hidden_features}: expected an even number, as one "
                "half gates the other"
            )
        self.gate_last = gate_last

    @property
    def inner_features(self) -> int:
        return self.hidden_features // 2

    def _build_fc1(self) -> None:
        zeros, ones = keras.initializers.Zeros(), keras.initializers.Ones()
        self.fc1 = self._dense(
            self.hidden_features,
            "fc1",
            weight=HalfGate(Normal(), Normal(GATE_STDDEV)),
            bias=HalfGate(zeros, ones),
        )
        self.fc1.build((None, self.dim))

    def _activated(self, x: tf.Tensor) -> tf.Tensor:
        first, second = tf.split(self.fc1(x), 2, axis=-1)  # each (B*N, hidden/2)
        if self.gate_last:
            return first * self.act(second)
        return self.act(first) * second


class SwiGLU(Mlp):
    """As `GluMlp`, with a projection for each half; the gate's is "fc1_g".

    Args:
        hidden_features: Width of each.
        act_layer: timm's name of the gate's activation.
        align_to: The width is rounded up to a multiple of it; 0 for none.
        **kwargs: Those of `Mlp`.
    """

    def __init__(
        self,
        hidden_features: int,
        act_layer: str = "silu",
        align_to: int = 0,
        **kwargs,
    ):
        if align_to:
            hidden_features += -hidden_features % align_to
        super().__init__(hidden_features, act_layer, **kwargs)

    def _build_fc1(self) -> None:
        self.fc1_g = self._dense(
            self.hidden_features, "fc1_g", weight=Normal(GATE_STDDEV), bias="ones"
        )
        self.fc1_x = self._dense(self.hidden_features, "fc1_x")
        for layer in (self.fc1_g, self.fc1_x):
            layer.build((None, self.dim))

    def _activated(self, x: tf.Tensor) -> tf.Tensor:
        return self.act(self.fc1_g(x)) * self.fc1_x(x)


MLPS = {
    "Mlp": Mlp,
    "GluMlp": GluMlp,
    "SwiGLU": SwiGLU,
    "SwiGLUPacked": functools.partial(GluMlp, act_layer="silu", gate_last=False),
}
