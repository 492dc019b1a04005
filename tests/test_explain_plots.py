import matplotlib.image
import numpy as np
import pytest

from vit_tf.explain import plots

IMAGE = np.linspace(0, 1, 8 * 12).reshape(8, 12)
MAPS = np.arange(2 * 3 * 2 * 3.0).reshape(2, 3, 2, 3)


def shown(axis):
    """The values of what an axis shows on top, and the pixels that it lies over."""
    picture = axis.get_images()[-1]
    return np.asarray(picture.get_array()), picture.get_extent()


def test_each_map_lies_over_the_whole_image(tmp_path):
    figure = plots.plot_attention_maps(
        IMAGE, MAPS, row_titles=["a", "b"], column_titles=["x", "y", "z"]
    )
    assert len(figure.axes) == 6
    values, extent = shown(figure.axes[4])
    np.testing.assert_array_equal(values, MAPS[1, 1])
    assert tuple(extent) == (-0.5, 11.5, 7.5, -0.5)
    assert figure.axes[3].get_ylabel() == "b"
    assert figure.axes[2].get_title() == "z"
    figure.savefig(tmp_path / "maps.png")
    assert matplotlib.image.imread(tmp_path / "maps.png").ndim == 3


def test_one_row_of_maps_is_a_row():
    assert len(plots.plot_attention_maps(IMAGE, MAPS[0]).axes) == 3


@pytest.mark.parametrize(
    "image",
    [
        (IMAGE * 255).astype(np.uint8),
        IMAGE[..., None],
        np.repeat(IMAGE[..., None], 3, axis=-1),
    ],
)
def test_images_of_bytes_or_of_one_channel_or_three_are_shown(image):
    figure = plots.plot_saliency(image, MAPS[0, 0], titles=["found"])
    original, found = figure.axes
    values, _ = shown(original)
    assert values.shape[:2] == (8, 12)
    np.testing.assert_allclose(values.max(), 1)
    np.testing.assert_array_equal(shown(found)[0], MAPS[0, 0])
    assert [original.get_title(), found.get_title()] == ["image", "found"]


def test_distances_are_dots_by_depth_the_mean_of_the_images():
    distances = np.arange(2 * 4 * 3.0).reshape(2, 4, 3)
    (axis,) = plots.plot_attention_distance(distances).axes
    assert len(axis.lines) == 3
    np.testing.assert_array_equal(axis.lines[1].get_ydata(), [7, 10, 13, 16])


def test_similarities_are_where_the_patches_are():
    similarity = np.random.default_rng(0).uniform(-1, 1, (2, 3, 2, 3))
    axes = plots.plot_pos_embed_similarity(similarity).axes
    np.testing.assert_array_equal(shown(axes[5])[0], similarity[1, 2])
    assert shown(axes[0])[0].shape == (2, 3)


def test_filters_are_scaled_each_to_its_own_range():
    filters = np.random.default_rng(0).standard_normal((5, 4, 4, 3))
    filters[3] = 2.0
    axes = plots.plot_patch_filters(filters, columns=3).axes
    values, _ = shown(axes[1])
    assert (values.min(), values.max()) == (0, 1)
    assert not shown(axes[3])[0].any()
    assert [axis.get_visible() for axis in axes] == [True] * 5 + [False]


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: plots.plot_attention_maps(IMAGE, MAPS[None]), "maps: shape .1, 2, 3"),
        (lambda: plots.plot_attention_maps(IMAGE[0], MAPS), "image: shape .12,. found"),
        (
            lambda: plots.plot_attention_maps(IMAGE, MAPS, row_titles=["a"]),
            "row_titles: 1 found, 2 expected, or none",
        ),
        (
            lambda: plots.plot_saliency(IMAGE, MAPS[0], titles=["a"]),
            "titles: 1 found, 3 expected, or none",
        ),
        (lambda: plots.plot_attention_distance(MAPS[None]), "distances: shape"),
        (lambda: plots.plot_pos_embed_similarity(MAPS[0]), "similarity: shape"),
        (lambda: plots.plot_patch_filters(MAPS[0]), "filters: shape .3, 2, 3. found"),
    ],
)
def test_other_axes_are_an_error(draw, message):
    with pytest.raises(ValueError, match=message):
        draw()
