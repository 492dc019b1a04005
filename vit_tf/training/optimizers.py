"""The optimizers that timm trains with, from Keras's.

Keras keeps the variables, the accumulation of gradients, the averages and the loop;
what is here is PyTorch's equation of each step, and settings of each variable's own.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf
from keras import ops
from keras.optimizers.schedules import LearningRateSchedule

from vit_tf.mapping import entries
from vit_tf.training.param_groups import param_groups

EMA_WARMUP_POWER = 2 / 3  # timm's `warmup_power`
CLIP_EPS = 1e-6  # torch's, in `clip_grad_norm_`


class _Grouped:
    """What PyTorch's training loop does and Keras's `Optimizer` does not.

    * Each variable has a weight decay and a scale of the learning rate of its own. In
      Keras there is one of each.
    * `clip_grad` is `torch.nn.utils.clip_grad_norm_`: all gradients are multiplied by
      min(1, clip_grad / (norm + 1e-6)), behind their accumulation. Keras's
      `global_clipnorm` has no 1e-6, and where there are replicas, each clips its own.
    * A schedule counts updates. With `gradient_accumulation_steps` Keras's counts
      batches.
    * The moving average is timm's `ModelEmaV3`: it moves with each update, and may
      warm up. Keras's has no warm-up, and moves with each batch. Without either it is
      the same: the first update is copied, then average += (1 - decay) (weight -
      average). Of buffers (a BatchNorm's) timm keeps an average as well; here they
      are the model's.

    Args:
        groups: For each group its variables' `paths`, `weight_decay` and `lr_scale`;
            none for no decay, and the same learning rate for all.
        clip_grad: The largest norm that all gradients together may have.
        ema_warmup: Whether the moving average's decay rises, as 1 - (1 + t)^(-2/3)
            behind t updates, to `ema_momentum`.
        **kwargs: Those of Keras's optimizer of the same name.

    Raises:
        ValueError: for Keras's `weight_decay`; when built, for a variable in no group.
    """

    def __init__(
        self,
        *,
        groups: Sequence[Mapping[str, Any]] = (),
        clip_grad: float | None = None,
        ema_warmup: bool = False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if self.weight_decay is not None:
            raise ValueError(
                f"weight_decay={self.weight_decay}: expected None; groups have theirs"
            )
        self.groups = tuple(groups)
        self.clip_grad = clip_grad
        self.ema_warmup = ema_warmup

    def build(self, variables):
        if self.built:
            return
        settings = {
            path: (group["lr_scale"], group["weight_decay"])
            for group in self.groups
            for path in group["paths"]
        }
        if self.groups:
            paths = [variable.path for variable in variables]
            if unknown := [path for path in paths if path not in settings]:
                raise ValueError(
                    f"{self.name}: no group has the variables {unknown}; expected: the "
                    "model that create_optimizer was given, with nothing unfrozen since"
                )
        self._settings = tuple(settings.get(v.path, (1.0, 0.0)) for v in variables)
        super().build(variables)

    def get_config(self) -> dict:
        groups = [{**group, "paths": list(group["paths"])} for group in self.groups]
        return {
            **super().get_config(),
            "groups": groups,
            "clip_grad": self.clip_grad,
            "ema_warmup": self.ema_warmup,
        }

    def _own(
        self, variable: tf.Variable, learning_rate: tf.Tensor
    ) -> tuple[tf.Tensor, float]:
        """A variable's learning rate and weight decay."""
        lr_scale, decay = self._settings[self._get_variable_index(variable)]
        lr = ops.cast(learning_rate, variable.dtype)
        return lr * lr_scale, decay

    def _number(self, variable: tf.Variable) -> tf.Tensor:
        """Which update this is, from 1."""
        return ops.cast(self.iterations + 1, variable.dtype)

    def _get_current_learning_rate(self):
        if isinstance(self._learning_rate, LearningRateSchedule):
            return self._learning_rate(self.iterations)  # updates, not batches
        return super()._get_current_learning_rate()

    def _clip_gradients(self, grads: list) -> list[tf.Tensor]:
        # a table that is read by rows has its gradient row by row, some of them twice
        grads = super()._clip_gradients([tf.convert_to_tensor(g) for g in grads])
        if self.clip_grad is None:
            return grads
        factor = self.clip_grad / (global_norm(grads) + CLIP_EPS)
        return _times(grads, tf.minimum(factor, tf.ones_like(factor)))

    def _update_model_variables_moving_average(self, trainable_variables: list) -> None:
        if not self.use_ema:
            return
        updated = True
        if self.gradient_accumulation_steps:
            updated = (self._iterations + 1) % self.gradient_accumulation_steps == 0
        averages = self._model_variables_moving_average
        for variable, average in zip(trainable_variables, averages, strict=True):
            moved = (1 - self._ema_decay(variable.dtype)) * (variable - average)
            average.assign(ops.where(updated, average + moved, average))

    def _ema_decay(self, dtype: str) -> tf.Tensor:
        behind = ops.cast(self.iterations, dtype)
        decay = tf.constant(self.ema_momentum, dtype)
        if self.ema_warmup:
            power = tf.constant(-EMA_WARMUP_POWER, dtype)
            decay = tf.minimum(decay, 1 - (1 + behind) ** power)
        return tf.where(behind > 0, decay, tf.zeros_like(decay))


@keras.saving.register_keras_serializable(package="vit_tf")
class AdamW(_Grouped, keras.optimizers.Adam):
    """`torch.optim.AdamW` (https://arxiv.org/abs/1711.05101).

        weight -= lr decay weight
        m += (1 - beta_1) (g - m),  v += (1 - beta_2) (g^2 - v)
        weight -= lr / (1 - beta_1^t) m / (sqrt(v / (1 - beta_2^t)) + epsilon)

    Keras adds epsilon to sqrt(v), before the correction: its first steps are as if
    epsilon were larger. Its powers of beta are those of float32 numbers.

    Args:
        learning_rate: A number or a schedule.
        epsilon: torch's default; Keras's is ten times it.
        **kwargs: Those of `keras.optimizers.Adam`; and `groups`, `clip_grad` and
            `ema_warmup`, see `create_optimizer`.

    Raises:
        ValueError: for `amsgrad`, and as `_Grouped` does.
    """

    def __init__(
        self,
        learning_rate: float | LearningRateSchedule = 0.001,
        *,
        epsilon: float = 1e-8,
        **kwargs,
    ):
        super().__init__(learning_rate=learning_rate, epsilon=epsilon, **kwargs)
        if self.amsgrad:
            raise ValueError("amsgrad=True: expected False; it is not computed here")

    def update_step(
        self, gradient: tf.Tensor, variable: tf.Variable, learning_rate: tf.Tensor
    ) -> None:
        lr, decay = self._own(variable, learning_rate)
        if decay:
            variable.assign_sub(variable * (lr * decay))
        index = self._get_variable_index(variable)
        beta1 = tf.constant(self.beta_1, variable.dtype)
        beta2 = tf.constant(self.beta_2, variable.dtype)
        beta1_power = beta1 ** self._number(variable)
        beta2_power = beta2 ** self._number(variable)
        tf.raw_ops.ResourceApplyAdam(  # in one operation; epsilon is Keras's there
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            beta1_power=beta1_power,
            beta2_power=beta2_power,
            lr=lr,
            beta1=beta1,
            beta2=beta2,
            epsilon=self.epsilon * tf.sqrt(1 - beta2_power),
            grad=ops.cast(gradient, variable.dtype),
        )


@keras.saving.register_keras_serializable(package="vit_tf")
class Lamb(_Grouped, keras.optimizers.Lamb):
    """timm's `Lamb` (https://arxiv.org/abs/1904.00962).

        u = m / (1 - beta_1^t) / (sqrt(v / (1 - beta_2^t)) + epsilon) + decay weight
        weight -= lr |weight| / |u| u

    with AdamW's m and v. Keras's weight decay is not part of u, and does not count in
    its norm. A weight without decay moves by lr u; Keras scales it by the norms, too.

    Args:
        learning_rate: A number or a schedule.
        epsilon: timm's default; Keras's is a tenth of it.
        max_grad_norm: The largest norm that all gradients together may have, behind
            `clip_grad`; None for any.
        **kwargs: Those of `keras.optimizers.Lamb`; and `groups`, `clip_grad` and
            `ema_warmup`, see `create_optimizer`.
    """

    def __init__(
        self,
        learning_rate: float | LearningRateSchedule = 0.001,
        *,
        epsilon: float = 1e-6,
        max_grad_norm: float | None = 1.0,
        **kwargs,
    ):
        super().__init__(learning_rate=learning_rate, epsilon=epsilon, **kwargs)
        self.max_grad_norm = max_grad_norm

    def update_step(
        self, gradient: tf.Tensor, variable: tf.Variable, learning_rate: tf.Tensor
    ) -> None:
        lr, decay = self._own(variable, learning_rate)
        index = self._get_variable_index(variable)
        m, v = self._momentums[index].value, self._velocities[index].value
        gradient = ops.cast(gradient, variable.dtype)
        m.assign_add((gradient - m) * (1 - self.beta_1))
        v.assign_add((tf.square(gradient) - v) * (1 - self.beta_2))
        number = self._number(variable)
        first = m / (1 - tf.constant(self.beta_1, variable.dtype) ** number)
        second = v / (1 - tf.constant(self.beta_2, variable.dtype) ** number)
        update = first / (tf.sqrt(second) + self.epsilon)
        if decay:
            update = update + decay * variable
            norms = tf.norm(variable), tf.norm(update)
            ratio = norms[0] / norms[1]
            ratio = tf.where((norms[0] > 0) & (norms[1] > 0), ratio, 1.0)
            update = ratio * update
        variable.assign_sub(lr * update)

    def get_config(self) -> dict:
        return {**super().get_config(), "max_grad_norm": self.max_grad_norm}

    def _clip_gradients(self, grads: list) -> list[tf.Tensor]:
        grads = super()._clip_gradients(grads)
        if self.max_grad_norm is None:
            return grads
        factor = self.max_grad_norm / global_norm(grads)
        return _times(grads, tf.minimum(factor, tf.ones_like(factor)))


@keras.saving.register_keras_serializable(package="vit_tf")
class SGD(_Grouped, keras.optimizers.SGD):
    """`torch.optim.SGD`.

        g += decay weight
        m = momentum m + g
        weight -= lr m,  or with nesterov  lr (g + momentum m)

    Keras's m holds the learning rate, so that a schedule reaches only what comes after;
    its weight decay is not part of the gradient.

    Args:
        learning_rate: A number or a schedule.
        momentum: From 0 to 1.
        nesterov: Whether the step looks ahead.
        **kwargs: Those of `keras.optimizers.SGD`; and `groups`, `clip_grad` and
            `ema_warmup`, see `create_optimizer`.
    """

    def __init__(
        self,
        learning_rate: float | LearningRateSchedule = 0.01,
        *,
        momentum: float = 0.9,
        nesterov: bool = True,
        **kwargs,
    ):
        super().__init__(
            learning_rate=learning_rate, momentum=momentum, nesterov=nesterov, **kwargs
        )

    def update_step(
        self, gradient: tf.Tensor, variable: tf.Variable, learning_rate: tf.Tensor
    ) -> None:
        lr, decay = self._own(variable, learning_rate)
        gradient = ops.cast(gradient, variable.dtype)
        if decay:
            gradient = gradient + decay * variable
        if not self.momentum:
            variable.assign_sub(lr * gradient)
            return
        momentum = self.momentums[self._get_variable_index(variable)]
        tf.raw_ops.ResourceApplyMomentum(  # in one operation
            var=variable.handle,
            accum=momentum.value.handle,
            lr=lr,
            grad=gradient,
            momentum=tf.constant(self.momentum, variable.dtype),
            use_nesterov=self.nesterov,
        )


def create_optimizer(
    model: keras.Model,
    opt: str = "adamw",
    *,
    lr: float | LearningRateSchedule,
    weight_decay: float = 0.0,
    momentum: float = 0.9,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float | None = None,
    layer_decay: float | None = None,
    layer_decay_min_scale: float = 0.0,
    clip_grad: float | None = None,
    grad_accum_steps: int = 1,
    model_ema_decay: float | None = None,
    model_ema_warmup: bool = False,
) -> keras.optimizers.Optimizer:
    """An optimizer for the model's trainable parameters, in timm's groups.

    timm's `create_optimizer_v2`, and what its train.py does around it. Freeze, or add
    LoRA, before. As in timm, `layer_decay` scales the schedule's lowest rates, too;
    unlike there, it scales a learning rate without a schedule as well.

    Args:
        model: A built model of vit_tf.
        opt: timm's name: "adamw", "lamb", "sgd" (Nesterov's), "momentum".
        lr: The learning rate, or a schedule that is given the number of updates.
        weight_decay: Of what is decayed at all; see `param_groups`.
        momentum: Of "sgd" and "momentum".
        betas: Of "adamw" and "lamb".
        eps: Theirs; None for 1e-8 and 1e-6, the defaults of torch and timm.
        layer_decay: The decay of the learning rate from layer to layer.
        layer_decay_min_scale: What that leaves of it at the least.
        clip_grad: The largest norm of all gradients together.
        grad_accum_steps: The mean of how many batches' gradients makes an update.
        model_ema_decay: The decay of a moving average of the weights. `fit` puts it
            in the model at its end; `keras.callbacks.SwapEMAWeights` for validation.
        model_ema_warmup: Whether that decay rises from 0.

    Raises:
        ValueError: if there is no such optimizer, or nothing to train; if gradients are
            to be accumulated by several replicas, which Keras does not do.
    """
    if opt not in _OPTIMIZERS:
        raise ValueError(f"opt={opt!r}: expected one of {list(_OPTIMIZERS)}")
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    if grad_accum_steps > 1 and replicas > 1:
        raise ValueError(
            f"grad_accum_steps={grad_accum_steps} with {replicas} replicas: expected "
            "1; Keras accumulates gradients on one device alone"
        )
    groups = _groups(
        model,
        weight_decay=weight_decay,
        layer_decay=layer_decay,
        min_scale=layer_decay_min_scale,
    )
    arguments: dict[str, Any] = dict(learning_rate=lr, groups=groups)
    arguments.update(clip_grad=clip_grad, ema_warmup=model_ema_warmup)
    if grad_accum_steps > 1:
        arguments["gradient_accumulation_steps"] = grad_accum_steps
    if model_ema_decay is not None:
        arguments.update(use_ema=True, ema_momentum=model_ema_decay)
    if opt in ("adamw", "lamb"):
        arguments.update(beta_1=betas[0], beta_2=betas[1])
        arguments.update({} if eps is None else {"epsilon": eps})
    else:
        arguments.update(momentum=momentum, nesterov=opt == "sgd")
    optimizer = _OPTIMIZERS[opt](**arguments)
    # `fit` would build it while it traces, slowly, and have to trace anew
    optimizer.build(model.trainable_variables)
    return optimizer


def global_norm(grads: Sequence[tf.Tensor]) -> tf.Tensor:
    """The norm of all gradients together, summed over the replicas that there are."""
    context = tf.distribute.get_replica_context()
    if context is not None and context.num_replicas_in_sync > 1:
        grads = context.all_reduce(tf.distribute.ReduceOp.SUM, list(grads))
    return tf.linalg.global_norm(grads)


def _times(grads: Sequence[tf.Tensor], factor: tf.Tensor) -> list[tf.Tensor]:
    return [gradient * ops.cast(factor, gradient.dtype) for gradient in grads]


def _groups(model: keras.Model, **arguments: Any) -> list[dict[str, Any]]:
    """`param_groups` by the paths of variables, which an optimizer can tell."""
    paths = {entry.name: entry.weight.path for entry in entries(model)}
    groups = [
        dict(
            paths=[paths[name] for name in group.names],
            weight_decay=group.weight_decay,
            lr_scale=group.lr_scale,
        )
        for group in param_groups(model, **arguments)
    ]
    if not groups:
        raise ValueError(f"{model.name} has nothing to train: all of it is frozen")
    return groups


_OPTIMIZERS: dict[str, Callable[..., keras.optimizers.Optimizer]] = {
    "adamw": AdamW,
    "lamb": Lamb,
    "sgd": SGD,
    "momentum": SGD,
}
