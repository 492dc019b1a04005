"""What an optimizer is told of each variable, and what Keras does with it."""

import types

import forked
import keras
import numpy as np
import pytest
import tensorflow as tf
from micro import micro_config
from timm.utils import ModelEmaV3

import vit_tf
from vit_tf import mapping
from vit_tf.reference import torch
from vit_tf.training import (
    SGD,
    AdamW,
    CosineSchedule,
    Lamb,
    create_optimizer,
    train_only,
)

SHAPES = {"kernel": (3, 4), "bias": (4,)}
GROUPS = [
    dict(paths=["kernel"], weight_decay=0.1, lr_scale=0.5),
    dict(paths=["bias"], weight_decay=0.0, lr_scale=1.0),
]
EVERY = [AdamW, Lamb, SGD]


def variables(dtype: str = "float64") -> list[keras.Variable]:
    rng = np.random.default_rng(0)
    return [
        keras.Variable(rng.standard_normal(shape), dtype=dtype, name=name)
        for name, shape in SHAPES.items()
    ]


def gradients(step: int) -> list[tf.Tensor]:
    rng = np.random.default_rng(step + 1)
    return [tf.constant(rng.standard_normal(shape)) for shape in SHAPES.values()]


def ended(optimizer, apply=None) -> list[np.ndarray]:
    """The variables after three steps."""
    ours = variables()
    optimizer.build(ours)
    for step in range(3):
        (apply or optimizer.apply)(gradients(step))
    return [variable.numpy() for variable in ours]


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("warmup", [False, True])
def test_the_moving_average_is_that_of_timm(warmup, steps):
    """Of the weights behind each update, also where several batches make one."""
    ours = variables()
    optimizer = SGD(
        0.5, use_ema=True, ema_momentum=0.7, ema_warmup=warmup,
        gradient_accumulation_steps=steps if steps > 1 else None,
    )  # fmt: skip
    optimizer.build(ours)
    module = torch.nn.Linear(3, 4, dtype=torch.float64)
    average = ModelEmaV3(module, decay=0.7, use_warmup=warmup)
    for batch in range(5 * steps):
        optimizer.apply(gradients(batch))
        number, rest = divmod(batch + 1, steps)
        if not rest:
            with torch.no_grad():
                module.weight.copy_(torch.from_numpy(ours[0].numpy().T))
                module.bias.copy_(torch.from_numpy(ours[1].numpy()))
            average.update(module, step=number)
    optimizer.finalize_variable_values(ours)  # what `fit` does at its end
    expected = [average.module.weight.T, average.module.bias]
    for variable, value in zip(ours, expected, strict=True):
        np.testing.assert_allclose(variable.numpy(), value.detach().numpy(), 1e-13)


def test_a_schedule_counts_updates():
    optimizer = SGD(CosineSchedule(1.0, 10, 1), gradient_accumulation_steps=3)
    optimizer.build(variables())
    rates = []
    for batch in range(9):
        rates.append(float(optimizer.learning_rate))
        optimizer.apply(gradients(batch))
    expected = [float(CosineSchedule(1.0, 10, 1)(number)) for number in range(3)]
    assert rates == list(np.repeat(expected, 3))


@pytest.mark.parametrize("cls", EVERY)
def test_an_optimizer_is_serialised_with_all_of_its_settings(cls):
    schedule = CosineSchedule(0.1, 5, 2, warmup_epochs=1)
    optimizer = cls(
        schedule, groups=GROUPS, clip_grad=0.3, use_ema=True, ema_warmup=True
    )
    text = keras.saving.serialize_keras_object(optimizer)
    again = keras.saving.deserialize_keras_object(text)
    assert type(again) is cls
    assert again.get_config() == optimizer.get_config()
    ends = [ended(one) for one in (optimizer, again)]
    for found, expected in zip(*ends, strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("cls", EVERY)
def test_xla_computes_the_same(cls):
    ends = []
    for jit_compile in (False, True):
        optimizer = cls(0.1, groups=GROUPS, clip_grad=0.3)
        ends.append(
            ended(optimizer, tf.function(optimizer.apply, jit_compile=jit_compile))
        )
    for found, expected in zip(*ends, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_rows_that_are_read_twice_count_once_in_the_norm():
    """The gradient of a gather comes row by row; PyTorch's is a whole table."""
    kernel, _ = variables()
    rows = tf.IndexedSlices(tf.ones((2, 4), tf.float64), [1, 1], (3, 4))
    before = kernel.numpy()
    optimizer = SGD(1.0, momentum=0.0, nesterov=False, clip_grad=1.0)
    optimizer.apply([rows], [kernel])
    step = before - kernel.numpy()  # (0, 2, 0) in each column, of norm 4
    np.testing.assert_allclose(step[1], np.full(4, 2 / (4 + 1e-6)), rtol=1e-13)
    assert not step[[0, 2]].any()


def test_replicas_clip_what_they_have_together():
    """In a process of its own: TensorFlow's devices are fixed once it has begun."""
    code = """
import keras, tensorflow as tf
from vit_tf.training import SGD
cpu = tf.config.list_physical_devices("CPU")[0]
two = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(cpu, two)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
with strategy.scope():
    weight = keras.Variable([3.0, 4.0])
    optimizer = SGD(1.0, momentum=0.0, nesterov=False, clip_grad=1.0)
    optimizer.build([weight])
def replica():
    number = tf.distribute.get_replica_context().replica_id_in_sync_group
    optimizer.apply([tf.one_hot(number, 2) * [3.0, 4.0]], [weight])
tf.function(lambda: strategy.run(replica))()
print(*weight.numpy().round(4))
"""
    done = forked.run("-c", code, check=True)
    assert done.stdout == "2.4 3.2\n"  # a step of length 1 in the direction (3, 4)


def test_replicas_do_not_accumulate(model, monkeypatch):
    two = types.SimpleNamespace(num_replicas_in_sync=2)
    monkeypatch.setattr(tf.distribute, "get_strategy", lambda: two)
    with pytest.raises(ValueError, match="grad_accum_steps=4 with 2 replicas"):
        create_optimizer(model, lr=0.1, grad_accum_steps=4)


def test_mixed_precision_scales_the_loss_and_passes_over_what_overflows():
    model = vit_tf.models.build(micro_config(), dtype="mixed_float16")
    inner = create_optimizer(model, lr=1e-2, weight_decay=0.05, clip_grad=1.0)
    optimizer = keras.optimizers.LossScaleOptimizer(inner, initial_scale=2.0**40)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, jit_compile=False)
    rng = np.random.default_rng(0)
    images = rng.standard_normal((4, 32, 32, 3)).astype(np.float32)
    labels = np.arange(4)
    before = mapping.extract(model)
    model.train_on_batch(images, labels)  # 2**40 is too much for float16
    after = mapping.extract(model)
    assert all((after[name] == before[name]).all() for name in before)
    losses = [model.train_on_batch(images, labels) for _ in range(40)]
    assert int(inner.iterations) > 10
    assert losses[-1] < 0.5 * losses[0]


def test_a_saved_model_goes_on_where_it_was(model, tmp_path):
    optimizer = create_optimizer(
        model, lr=CosineSchedule(1e-2, 5, 1), weight_decay=0.05, layer_decay=0.7
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, jit_compile=False)
    images = np.random.default_rng(0).standard_normal((4, 32, 32, 3)).astype("float32")
    model.train_on_batch(images, np.arange(4))
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    ends = []
    for one in (model, again):
        one.train_on_batch(images, np.arange(4))
        ends.append(mapping.extract(one))
    assert all((ends[0][name] == ends[1][name]).all() for name in ends[0])


def test_what_is_not_in_a_group_is_an_error():
    with pytest.raises(ValueError, match=r"no group has the variables \['bias'\]"):
        SGD(0.1, groups=GROUPS[:1]).build(variables())


@pytest.mark.parametrize("cls", EVERY)
def test_one_weight_decay_for_all_is_refused(cls):
    with pytest.raises(ValueError, match="expected None; groups have theirs"):
        cls(0.1, weight_decay=0.1)


def test_what_is_not_computed_is_refused():
    with pytest.raises(ValueError, match="amsgrad=True: expected False"):
        AdamW(0.1, amsgrad=True)


def test_an_unknown_optimizer_is_an_error(model):
    with pytest.raises(ValueError, match="opt='adam': expected one of "):
        create_optimizer(model, "adam", lr=0.1)


def test_a_frozen_model_has_nothing_to_train(model):
    train_only(model, [])
    with pytest.raises(ValueError, match="nothing to train: all of it is frozen"):
        create_optimizer(model, lr=0.1)
