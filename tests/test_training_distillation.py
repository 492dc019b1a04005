"""DeiT's distillation: the paper's equations in PyTorch, timm's own tasks, and fit."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from bundles import shared
from micro import MICRO, micro_config, random_tensors
from PIL import Image

import vit_tf
from vit_tf import mapping, proof
from vit_tf.preprocessing import DataConfig
from vit_tf.reference import timm, torch
from vit_tf.training import (
    Distiller,
    HardDistillation,
    SoftDistillation,
    teacher_images,
)

TOKEN, PLAIN = "deit_tiny_distilled_patch16_224", "deit_tiny_patch16_224"
SHALLOW = {**MICRO, "depth": 1}
CLASSES = MICRO["num_classes"]
KINDS = [("hard", 1.0, 0.5), ("soft", 1.0, 0.3), ("soft", 3.0, 0.1)]


def logits(seed):
    return 3 * np.random.default_rng(seed).standard_normal((5, CLASSES))


def equation(kind, tau, teacher, student):
    """The second term of equation 2 or 3 of the paper, without its weight."""
    if kind == "hard":
        return torch.nn.functional.cross_entropy(student, teacher.argmax(1))
    p_teacher = torch.softmax(teacher / tau, dim=1)
    p_student = torch.softmax(student / tau, dim=1)
    divergence = (p_teacher * (p_teacher.log() - p_student.log())).sum(1)
    return tau**2 * divergence.mean()


@pytest.mark.parametrize(("kind", "tau", "alpha"), KINDS)
def test_each_loss_and_its_gradient_are_the_papers(kind, tau, alpha):
    loss = (
        HardDistillation(dtype="float64")
        if kind == "hard"
        else SoftDistillation(tau, dtype="float64")
    )
    student = tf.constant(logits(1))
    with tf.GradientTape() as tape:
        tape.watch(student)
        candidate = loss(logits(0), student)
    reference_student = torch.from_numpy(logits(1)).requires_grad_()
    reference = equation(kind, tau, torch.from_numpy(logits(0)), reference_student)
    reference.backward()
    np.testing.assert_allclose(candidate, reference.item(), rtol=1e-10)
    gradient = tape.gradient(candidate, student)
    np.testing.assert_allclose(
        gradient, reference_student.grad.numpy(), rtol=1e-10, atol=1e-12
    )
    twin = type(loss).from_config(loss.get_config())
    np.testing.assert_allclose(twin(logits(0), logits(1)), candidate, rtol=1e-6)


@pytest.fixture
def in_float64():
    keras.config.set_floatx("float64")  # in which Keras computes its losses
    yield
    keras.config.set_floatx("float32")


def timm_task(kind, tau, alpha, module, teacher):
    from timm.task import LogitDistillationTask, TokenDistillationTask

    options = dict(
        criterion=torch.nn.CrossEntropyLoss(), task_loss_weight=1 - alpha,
        temperature=tau, dtype=torch.float64, verbose=False,
    )  # fmt: skip
    if hasattr(module, "set_distilled_training"):
        return TokenDistillationTask(module, teacher, distill_type=kind, **options)
    return LogitDistillationTask(module, teacher, **options)


@pytest.mark.parametrize(
    ("name", "kind", "tau", "alpha"),
    [*((TOKEN, *kind) for kind in KINDS), (PLAIN, *KINDS[2])],
)
def test_the_loss_and_every_gradient_of_a_student_are_those_of_timms_task(
    name, kind, tau, alpha, in_float64
):
    config, teacher_config = micro_config(name), micro_config(PLAIN)
    tensors, teacher_tensors = random_tensors(config), random_tensors(teacher_config, 1)
    of_student = DataConfig((3, 32, 32), mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    of_teacher = DataConfig((3, 32, 32), mean=(0.5,) * 3, std=(0.25,) * 3)
    rng = np.random.default_rng(0)
    images, labels = rng.standard_normal((4, 32, 32, 3)), rng.integers(0, CLASSES, 4)

    modules = []
    for one, weights, data in (
        (config, tensors, of_student),
        (teacher_config, teacher_tensors, of_teacher),
    ):
        modules.append(proof.original(one, weights, "float64").module)
        modules[-1].pretrained_cfg = dict(mean=data.mean, std=data.std)
    task = timm_task(kind, tau, alpha, *modules).train()
    reference = task(
        torch.from_numpy(images.transpose(0, 3, 1, 2)), torch.from_numpy(labels)
    )["loss"]
    reference.backward()

    student = proof.filled(config, tensors, "float64")
    distiller = Distiller(
        student,
        proof.filled(teacher_config, teacher_tensors, "float64"),
        distillation_type=kind,
        alpha=alpha,
        tau=tau,
        teacher_inputs=teacher_images(of_student, of_teacher),
    )
    distiller.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    entries = [entry for entry in mapping.entries(student) if entry.weight.trainable]
    with tf.GradientTape() as tape:
        output = distiller(tf.constant(images), training=True)
        candidate = distiller.compute_loss(tf.constant(images), labels, output)
    gradients = tape.gradient(candidate, [entry.weight.value for entry in entries])

    np.testing.assert_allclose(candidate, reference.item(), rtol=1e-10)
    expected = dict(task.trainable_module.named_parameters())
    assert len(entries) == len(expected)
    scale = max(parameter.grad.abs().max() for parameter in expected.values())
    for entry, gradient in zip(entries, gradients, strict=True):
        np.testing.assert_allclose(
            entry.layout.to_timm(gradient.numpy()),
            expected[entry.name].grad.numpy(),
            rtol=1e-8,
            atol=1e-12 * scale,
            err_msg=entry.name,
        )


@pytest.fixture(scope="module")
def trained():
    """A distiller after fit, the losses, and its teacher with the weights it had."""
    keras.utils.set_random_seed(0)
    student = vit_tf.create_model(TOKEN, **SHALLOW)
    teacher = vit_tf.create_model(PLAIN, **SHALLOW)
    before = [weight.numpy() for weight in teacher.weights]
    distiller = Distiller(student, teacher)
    distiller.compile(
        keras.optimizers.AdamW(3e-3),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=False,
    )
    rng = np.random.default_rng(0)
    images = rng.standard_normal((16, 32, 32, 3)).astype(np.float32)
    labels = rng.integers(0, CLASSES, 16)
    history = distiller.fit(
        images, labels, batch_size=8, epochs=8, verbose=0, shuffle=False,
        validation_data=(images, labels),
    ).history  # fmt: skip
    return distiller, history, teacher, before, (images, labels)


def test_fit_lowers_the_loss_and_leaves_the_teacher_as_it_was(trained):
    _, history, teacher, before, _ = trained
    assert history["loss"][-1] < 0.7 * history["loss"][0]
    for weight, value in zip(teacher.weights, before, strict=True):
        assert np.array_equal(weight.numpy(), value)


def test_evaluation_sees_the_students_mean_and_its_labels(trained):
    distiller, history, _, _, (images, labels) = trained
    output = distiller.predict(images, verbose=0)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(labels, output)
    np.testing.assert_allclose(history["val_loss"][-1], loss, rtol=1e-5)
    accuracy = np.mean(output.argmax(1) == labels)
    np.testing.assert_allclose(history["val_accuracy"][-1], accuracy, rtol=1e-6)
    assert np.array_equal(output, distiller.student.predict(images, verbose=0))


def test_what_is_saved_is_the_student_which_timm_loads(trained, tmp_path):
    distiller, _, teacher, _, (images, _) = trained
    kept = {id(variable) for variable in distiller.variables}
    assert not kept & {id(variable) for variable in teacher.variables}
    assert len(distiller.weights) == len(distiller.student.weights)

    distiller.student.save(tmp_path / "student.keras")
    student = keras.saving.load_model(tmp_path / "student.keras")
    module = timm.create_model(TOKEN, **SHALLOW).eval()
    module.load_state_dict(
        {k: torch.from_numpy(v.copy()) for k, v in mapping.extract(student).items()},
        strict=True,
    )
    with torch.inference_mode():
        reference = module(torch.from_numpy(images.transpose(0, 3, 1, 2).copy()))
    candidate = distiller.predict(images, verbose=0)
    np.testing.assert_allclose(candidate, reference.numpy(), atol=1e-5)


def test_a_pair_of_logits_is_given_to_the_distiller_alone(trained):
    distiller, _, _, _, (images, _) = trained
    assert isinstance(distiller(images[:2], training=True), tuple)
    assert distiller.student(images[:2], training=True).shape == (2, CLASSES)


def test_a_bundle_is_a_teacher_and_a_function_is_one(tmp_path_factory):
    bundle = shared(tmp_path_factory)
    images = np.random.default_rng(0).standard_normal((2, 32, 32, 3), np.float32)
    student = vit_tf.create_model(TOKEN, **MICRO)
    expected = vit_tf.load(bundle)(images, training=False)
    for teacher in (bundle, str(bundle), lambda images: expected):
        distiller = Distiller(student, teacher)
        found = distiller.teacher_logits(tf.constant(images))
        np.testing.assert_allclose(found, expected, atol=1e-6)
        assert len(distiller.weights) == len(student.weights)


def test_the_loss_weighs_images_as_it_is_told():
    teacher, student, weights = logits(0), logits(1), np.array([0.0, 1, 2, 0, 1])
    loss = SoftDistillation(2.0, dtype="float64")
    each = [loss(teacher[i : i + 1], student[i : i + 1]) for i in range(5)]
    expected = np.sum(weights * np.array(each)) / 5
    np.testing.assert_allclose(loss(teacher, student, weights), expected)


def test_a_teachers_images_have_its_size_and_its_normalisation():
    student = DataConfig((3, 32, 32), mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
    teacher = DataConfig((3, 20, 24), "bicubic", mean=(0.1, 0.2, 0.3), std=(1, 2, 3))
    pixels = np.random.default_rng(0).random((2, 32, 32, 3)).astype(np.float32)
    images = ((pixels - student.mean) / student.std).astype(np.float32)
    candidate = teacher_images(student, teacher)(tf.constant(images)).numpy()
    for image, found in zip(pixels, candidate, strict=True):
        channels = [Image.fromarray(image[..., channel]) for channel in range(3)]
        resized = [c.resize((24, 20), Image.Resampling.BICUBIC) for c in channels]
        expected = (np.stack(resized, axis=-1) - teacher.mean) / teacher.std
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_errors_name_what_was_found_and_what_was_expected(tmp_path):
    student = vit_tf.create_model(TOKEN, **MICRO)
    for arguments, told in (
        (dict(distillation_type="none"), '\'none\' found, "hard" or "soft" expected'),
        (dict(alpha=1.5), "alpha=1.5 found, a number from 0 to 1 expected"),
        (dict(distillation_type="soft", tau=0.0), "tau=0.0 found, a number above 0"),
        (dict(teacher=str(tmp_path)), "holds no saved_model.pb"),
    ):
        with pytest.raises(ValueError, match=told):
            Distiller(student, **{"teacher": student, **arguments})
    distiller = Distiller(student, lambda images: tf.zeros((len(images), 3)))
    distiller.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    images, labels = np.zeros((2, 32, 32, 3), np.float32), np.zeros(2)
    with pytest.raises(ValueError, match="3 classes found, the student's 7 expected"):
        distiller.compute_loss(images, labels, distiller(images, training=True))
    with pytest.raises(ValueError, match="1 channels found, the student's 3 expected"):
        teacher_images(DataConfig(), DataConfig((1, 28, 28), mean=(0.5,), std=(0.5,)))
