"""How long the axes of a tensor are."""

import tensorflow as tf

Size = int | tf.Tensor  # a number, or a scalar int32 where only the graph knows


def sizes(x: tf.Tensor, *axes: int) -> tuple[Size, ...]:
    """How long each of `axes` is; by default, of all.

    As `keras.ops.shape`, but that TensorFlow computes only what is asked for and not
    known: one layer after the other, that takes as long as a small model's arithmetic.
    """
    axes = axes or tuple(range(len(x.shape)))
    known = [x.shape[axis] for axis in axes]
    if None not in known:
        return tuple(known)
    computed = tf.shape(x)
    return tuple(
        computed[axis] if size is None else size
        for axis, size in zip(axes, known, strict=True)
    )


def size(x: tf.Tensor, axis: int) -> Size:
    """How long one axis is."""
    return sizes(x, axis)[0]
