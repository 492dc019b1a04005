"""A student trained by a teacher, as DeiT is (https://arxiv.org/abs/2012.12877)."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

Teacher = keras.Model | str | Path | Callable[[tf.Tensor], tf.Tensor]


@keras.saving.register_keras_serializable(package="vit_tf")
class HardDistillation(keras.losses.Loss):
    """The cross-entropy with what the teacher decides: L_CE(psi(Z_s), y_t) of DeiT.

    y_t = argmax_c Z_t(c). It is called as (teacher's logits, student's logits), (B, C)
    each, and gives one number for each image before it is reduced.

    Source: equation (3) of the paper; facebookresearch/deit, losses.py.
    """

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        decided = tf.argmax(y_true, axis=-1)
        return keras.losses.sparse_categorical_crossentropy(
            decided, y_pred, from_logits=True
        )


@keras.saving.register_keras_serializable(package="vit_tf")
class SoftDistillation(keras.losses.Loss):
    """tau^2 KL(psi(Z_t / tau) || psi(Z_s / tau)): how far the student's softmax is.

    It is called as (teacher's logits, student's logits), (B, C) each, and gives one
    number for each image before it is reduced. That is timm's loss (`kl_div` with
    "batchmean"). DeiT's code divides by the number of classes as well, which makes its
    alpha another one; the paper does not.

    Source: equation (2) of the paper; timm/task/token_distillation.py.

    Args:
        tau: The temperature, above 0.

    Raises:
        ValueError: if `tau` is not above 0.
    """

    def __init__(self, tau: float = 1.0, **kwargs):
        super().__init__(**kwargs)
        if not tau > 0:
            raise ValueError(f"tau={tau!r} found, a number above 0 expected")
        self.tau = tau

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        tau = tf.constant(self.tau, y_pred.dtype)
        teacher = tf.nn.log_softmax(y_true / tau)
        student = tf.nn.log_softmax(y_pred / tau)
        divergence = tf.reduce_sum(tf.exp(teacher) * (teacher - student), axis=-1)
        return divergence * tau**2

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "tau": self.tau}


class Distiller(keras.Model):
    """A student in training, with the teacher that it learns from.

    With psi the softmax, Z_s and Z_t the logits of student and teacher and y the label,
    the loss of training is, for "soft" (equation 2 of the paper) and for "hard"
    (equation 3, where alpha is 1/2),

        L = (1 - alpha) L_CE(psi(Z_s), y) + alpha tau^2 KL(psi(Z_t/tau), psi(Z_s/tau))
        L = (1 - alpha) L_CE(psi(Z_s), y) + alpha L_CE(psi(Z_s), y_t),
            y_t = argmax_c Z_t(c)

    The first term is the loss that `compile` is given: any of Keras's, on logits. Of a
    student with a distillation token it sees the class head's, and the second term the
    distillation head's; of another student both see its only logits (the paper's
    "usual distillation"). Evaluation and `predict` see what the student gives there,
    the mean of its heads, and the first term alone; the teacher does not run.

    The teacher runs without gradients and in inference mode, and sees the very images
    that the student does, mixed and erased. It is not among the weights, here or in
    files: `student` is the model that it was, to be saved by itself.

        distiller = Distiller(student, teacher)
        loss = keras.losses.CategoricalCrossentropy(from_logits=True)
        distiller.compile(optimizer, loss)
        distiller.fit(images_and_targets)
        distiller.student.save("student.keras")

    Source: facebookresearch/deit, losses.py `DistillationLoss`;
    timm/task/token_distillation.py.

    Args:
        student: The model to train.
        teacher: What gives logits, (B, C), for images: a Keras model, the folder of a
            bundle (or of another SavedModel that is called with images), or a function.
        distillation_type: "hard" or "soft".
        alpha: The weight of the teacher's term, from 0 to 1.
        tau: The temperature of "soft". With it the paper takes 3.0, and alpha=0.1.
        teacher_inputs: What makes the teacher's images of the student's, e.g.
            `teacher_images`; by default they are the same.

    Raises:
        ValueError: if an argument is none of those, or the teacher is a folder that
            holds no SavedModel; in training, if teacher and student do not tell the
            same number of classes apart.
    """

    def __init__(
        self,
        student: keras.Model,
        teacher: Teacher,
        *,
        distillation_type: str = "hard",
        alpha: float = 0.5,
        tau: float = 1.0,
        teacher_inputs: Callable[[tf.Tensor], tf.Tensor] | None = None,
        **kwargs,
    ):
        # The student casts its images itself; compile scales the loss of a half one.
        super().__init__(dtype=student.dtype_policy, autocast=False, **kwargs)
        if not 0 <= alpha <= 1:
            raise ValueError(f"alpha={alpha!r} found, a number from 0 to 1 expected")
        self.student = student
        self.alpha = alpha
        self.distillation_loss = _loss(distillation_type, tau)
        self.supports_jit = student.supports_jit and getattr(
            teacher, "supports_jit", False
        )
        # A function: Keras would keep a model, and save its weights with the student's.
        self._teacher = _as_function(teacher)
        self._teacher_inputs = teacher_inputs

    def call(
        self, images: tf.Tensor, training: bool = False
    ) -> tf.Tensor | tuple[tf.Tensor, tf.Tensor]:
        if not (training and hasattr(self.student, "set_distilled_training")):
            return self.student(images, training=training)
        before = self.student.distilled_training
        self.student.set_distilled_training()
        try:
            return self.student(images, training=True)
        finally:
            self.student.set_distilled_training(before)

    def teacher_logits(self, images: tf.Tensor) -> tf.Tensor:
        """What the teacher says of the student's images: (B, C), without a gradient."""
        if self._teacher_inputs is not None:
            images = self._teacher_inputs(images)
        return tf.stop_gradient(self._teacher(images))

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> tf.Tensor:
        class_logits, student_logits = _heads(y_pred)
        class_loss = super().compute_loss(x, y, class_logits, sample_weight, training)
        if not training:
            return class_loss
        teacher_logits = self.teacher_logits(x)
        if teacher_logits.shape[-1] != student_logits.shape[-1]:
            raise ValueError(
                f"the teacher's logits: {teacher_logits.shape[-1]} classes found, the "
                f"student's {student_logits.shape[-1]} expected"
            )
        distillation_loss = self.distillation_loss(
            teacher_logits, student_logits, sample_weight
        )
        return (1 - self.alpha) * class_loss + self.alpha * distillation_loss

    def compute_metrics(
        self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None
    ) -> dict[str, Any]:
        return super().compute_metrics(x, y, _heads(y_pred)[0], sample_weight)


def _heads(logits: Any) -> tuple[tf.Tensor, tf.Tensor]:
    """What the class loss sees, and what the distillation loss does."""
    return logits if isinstance(logits, tuple) else (logits, logits)


def _loss(distillation_type: str, tau: float) -> keras.losses.Loss:
    if distillation_type == "hard":
        return HardDistillation()
    if distillation_type == "soft":
        return SoftDistillation(tau)
    raise ValueError(
        f'distillation_type={distillation_type!r} found, "hard" or "soft" expected'
    )


def _as_function(teacher: Teacher) -> Callable[[tf.Tensor], tf.Tensor]:
    if isinstance(teacher, keras.Model):
        return lambda images: teacher(images, training=False)
    if not isinstance(teacher, (str, Path)):
        return teacher
    if not (Path(teacher) / "saved_model.pb").is_file():
        raise ValueError(
            f"teacher: {teacher} found, which holds no saved_model.pb; the folder of a "
            "bundle, a Keras model or a function expected"
        )
    loaded = tf.saved_model.load(str(teacher))
    return lambda images: loaded(images)
