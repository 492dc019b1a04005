"""On how many devices a training runs."""

import os

import tensorflow as tf

STRATEGIES = ("none", "mirrored", "multi_worker")


def strategy_of(name: str) -> tf.distribute.Strategy:
    """A strategy of TensorFlow's. Make it before anything else is computed.

    Args:
        name: "none" for one device; "mirrored" for all GPUs of this machine (or all
            logical CPUs, where it has none); "multi_worker" for those of all machines
            that the environment's TF_CONFIG lists, each of which runs the same command.

    Raises:
        ValueError: if there is no such strategy, or nothing says which workers.
    """
    if name not in STRATEGIES:
        raise ValueError(f"strategy={name!r} found, one of {STRATEGIES} expected")
    if name == "multi_worker":
        if "TF_CONFIG" not in os.environ:
            raise ValueError(
                "strategy='multi_worker' without TF_CONFIG in the environment found; "
                'expected: {"cluster": {"worker": ["HOST:PORT", ...]}, '
                '"task": {"type": "worker", "index": N}}'
            )
        return tf.distribute.MultiWorkerMirroredStrategy()
    if name == "mirrored":
        kind = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
        devices = [device.name for device in tf.config.list_logical_devices(kind)]
        return tf.distribute.MirroredStrategy(devices)
    return tf.distribute.get_strategy()


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process is the one that writes what all have made."""
    resolver = strategy.cluster_resolver
    if resolver is None or not resolver.task_type:
        return True
    if resolver.task_type == "worker":
        has_chief = "chief" in resolver.cluster_spec().jobs
        return resolver.task_id == 0 and not has_chief
    return resolver.task_type == "chief"
