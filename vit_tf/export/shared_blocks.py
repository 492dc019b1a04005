"""Blocks that are traced once, however many there are."""

import contextlib
from collections.abc import Callable, Iterator, Mapping

import keras
import tensorflow as tf

from vit_tf.activations import replaced_calls, watch
from vit_tf.mapping import join


@contextlib.contextmanager
def shared_blocks(
    blocks: Mapping[str, keras.layers.Layer],
    tapped: Callable[[str], bool] = lambda name: False,
) -> Iterator[dict[str, tf.Tensor]]:
    """Within it, equal blocks share one traced function that takes their weights.

    Tracing and saving a graph is Python's work, operation by operation: for 24 blocks
    that were traced once it is a tenth. TensorFlow inlines the calls before it runs
    them, so speed is the same.

    Args:
        blocks: Name in the model -> built layer. They compute the same function of
            input and weights, without anything random.
        tapped: Whether the output of a layer inside a block is wanted as well, by its
            name in the block, e.g. "attn.attn_drop".

    Yields:
        name in the model -> output of the tapped layers, once the blocks have run.
    """
    template = next(iter(blocks.values()))
    template_call = template.call
    outputs: dict[str, tf.Tensor] = {}

    @tf.function(autograph=False)
    def block(x, weights, training):
        inner: dict[str, tf.Tensor] = {}

        def observe(name: str, output: tf.Tensor) -> None:
            if tapped(name):
                inner[name] = output

        pairs = zip(template.weights, weights, strict=True)
        own_weights = keras.StatelessScope(state_mapping=list(pairs))
        with own_weights, watch(template, observe):
            return template_call(x, training=training), inner

    def call(block_name: str, layer: keras.layers.Layer):
        def shared(x, training=False):
            weights = [tf.convert_to_tensor(v.value) for v in layer.weights]
            output, inner = block(x, weights, bool(training))
            outputs.update({join(block_name, k): v for k, v in inner.items()})
            return output

        return shared

    with replaced_calls({layer: call(name, layer) for name, layer in blocks.items()}):
        yield outputs
