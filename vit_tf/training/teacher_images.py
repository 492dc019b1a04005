"""The student's images as a teacher that was trained on others takes them."""

from collections.abc import Callable

import tensorflow as tf

from vit_tf.preprocessing import DataConfig

_METHODS = {"bilinear": "bilinear", "bicubic": "bicubic", "lanczos": "lanczos3"}


def teacher_images(
    student: DataConfig, teacher: DataConfig
) -> Callable[[tf.Tensor], tf.Tensor]:
    """What makes the teacher's images of the student's, for `Distiller`.

    Their normalisation is undone and the teacher's applied, as timm does; where the
    teacher's images have another size they are resized between the two, with the
    teacher's interpolation and antialiasing.

    Source: timm/task/distillation.py `DistillationTeacher.normalize_input`.

    Args:
        student: How the images that training sees were normalised.
        teacher: What the teacher was trained on.

    Returns:
        What takes (B, height, width, channels) of the student's size, and gives the
        teacher's.

    Raises:
        ValueError: if they do not have the same number of channels.
    """
    if student.input_size[0] != teacher.input_size[0]:
        raise ValueError(
            f"the teacher's images: {teacher.input_size[0]} channels found, the "
            f"student's {student.input_size[0]} expected"
        )

    def convert(images: tf.Tensor) -> tf.Tensor:
        of_student, of_teacher = (
            [tf.constant(values, images.dtype) for values in (data.mean, data.std)]
            for data in (student, teacher)
        )
        images = images * of_student[1] + of_student[0]
        if student.size != teacher.size:
            method = _METHODS[teacher.interpolation]
            resized = tf.image.resize(images, teacher.size, method, antialias=True)
            images = tf.cast(resized, images.dtype)
        return (images - of_teacher[0]) / of_teacher[1]

    return convert
