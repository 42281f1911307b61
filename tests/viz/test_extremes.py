import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jfractal as jf
from jfractal.viz import extremes

KEY = jax.random.key(0)
PREDICTION = jf.Prediction.of(jax.nn.log_softmax(2 * jax.random.normal(KEY, (5, 12, 3))))
IMAGES = np.asarray(jax.random.uniform(jax.random.key(1), (12, 4, 4, 3), minval=-3, maxval=7))


def drawn(figure):
    return [axes.images[0].get_array() for axes in figure.axes if axes.images]


def test_rows_are_the_smallest_and_the_largest():
    figure = extremes(PREDICTION, IMAGES, num_images=3)
    order = np.argsort(PREDICTION.epistemic)
    wanted = [*order[:3], *order[::-1][:3]]
    for i, axes, pixels in zip(wanted, figure.axes, drawn(figure), strict=True):
        low, high = IMAGES[i].min(), IMAGES[i].max()
        np.testing.assert_allclose(pixels, (IMAGES[i] - low) / (high - low), atol=1e-6)
        label = int(PREDICTION.log_probs[i].argmax())
        assert axes.get_title() == f"{label}\n{PREDICTION.epistemic[i]:.2g} nats"


@pytest.mark.parametrize("images", [IMAGES[..., 0], IMAGES[..., :1]])
def test_grey_images(images):
    for pixels in drawn(extremes(PREDICTION, images)):
        assert pixels.shape == (4, 4) and (pixels.min(), pixels.max()) == (0, 1)


def test_fewer_images_than_asked_for_and_a_blank_one():
    few = jf.Prediction.of(jax.nn.log_softmax(jnp.ones((2, 2, 3))))
    figure = extremes(few, np.ones((2, 4, 4)))
    assert len(figure.axes) == 4 and all((x == 0).all() for x in drawn(figure))


def test_texts_do_not_overlap_and_are_not_cut_off(collisions):
    figure = extremes(PREDICTION, IMAGES)
    assert not collisions(figure, [axes.title for axes in figure.axes])


@pytest.mark.parametrize(
    ("images", "match"),
    [
        (IMAGES[:5], "`images` must be one for each of 12 predictions, got 5"),
        (IMAGES[..., :2], "`images` must have 1 or 3 channels, got 2"),
        (np.full((12, 4, 4), np.nan), "`images` must be finite"),
        (np.ones(12), "`images` must have 3 axes"),
    ],
)
def test_bad_inputs(images, match):
    with pytest.raises(jf.InputError, match=match):
        extremes(PREDICTION, images)
