"""The learning rate of each update: timm's numbers."""

import itertools

import keras
import numpy as np
import pytest
from timm.scheduler import create_scheduler_v2

from vit_tf.reference import torch
from vit_tf.training import CosineSchedule

EPOCHS, UPDATES, LR = 6, 4, 0.03
OPTIONS = [
    dict(warmup_epochs=w, warmup_prefix=p, step_on_epochs=s, warmup_lr=1e-4, min_lr=m)
    for w, p, s, m in itertools.product((0, 2), (True, False), (True, False), (0, 1e-3))
]


def rates_of_timm(options: dict, count: int) -> list[float]:
    """As its train.py steps the scheduler."""
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=LR)
    scheduler, _ = create_scheduler_v2(
        optimizer, num_epochs=EPOCHS, updates_per_epoch=UPDATES, **options
    )
    rates = []
    for update in range(1, count + 1):
        rates.append(optimizer.param_groups[0]["lr"])
        scheduler.step_update(update)
        if update % UPDATES == 0:
            scheduler.step(update // UPDATES)
    return rates


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_rates_are_those_of_timm(options):
    schedule = CosineSchedule(LR, EPOCHS, UPDATES, **options)
    count = (EPOCHS + 3) * UPDATES  # past the end
    found = [float(schedule(step)) for step in range(count)]
    np.testing.assert_allclose(found, rates_of_timm(options, count), rtol=1e-13)


def test_with_a_prefix_and_steps_it_is_that_of_keras():
    ours = CosineSchedule(
        LR, EPOCHS, UPDATES, warmup_epochs=2, warmup_lr=1e-4, min_lr=3e-3,
        warmup_prefix=True, step_on_epochs=False,
    )  # fmt: skip
    theirs = keras.optimizers.schedules.CosineDecay(
        1e-4, EPOCHS * UPDATES, alpha=0.1, warmup_target=LR, warmup_steps=2 * UPDATES
    )
    for step in range((EPOCHS + 3) * UPDATES):
        assert float(ours(step)) == pytest.approx(float(theirs(step)), rel=1e-6)


def test_it_is_serialised():
    schedule = CosineSchedule(LR, EPOCHS, UPDATES, **OPTIONS[-1])
    text = keras.saving.serialize_keras_object(schedule)
    again = keras.saving.deserialize_keras_object(text)
    assert again.get_config() == schedule.get_config()
    assert float(again(7)) == float(schedule(7))


def test_impossible_numbers_are_one_error():
    expected = (
        "num_epochs=0: expected at least 1; updates_per_epoch=-1: expected at least 1; "
        "min_lr=-0.1: expected at least 0"
    )
    with pytest.raises(ValueError, match=expected):
        CosineSchedule(LR, 0, -1, min_lr=-0.1)
