"""On how many devices a training runs."""

import tensorflow as tf

STRATEGIES = ("none", "mirrored")


def strategy_of(name: str) -> tf.distribute.Strategy:
    """A strategy of TensorFlow's. Make it before anything else is computed.

    Args:
        name: "none" for one device; "mirrored" for all GPUs of this machine (or all
            logical CPUs, where it has none).

    Raises:
        ValueError: if there is no such strategy.
    """
    if name not in STRATEGIES:
        raise ValueError(f"strategy={name!r} found, one of {STRATEGIES} expected")
    if name == "mirrored":
        kind = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
        devices = [device.name for device in tf.config.list_logical_devices(kind)]
        return tf.distribute.MirroredStrategy(devices)
    return tf.distribute.get_strategy()
