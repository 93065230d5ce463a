"""The equations of a batch: their derivatives, the counts of labels, and balanced starts."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dlgutils.analytic import label_counts, mixing, mixing_starts, single_images
from dlgutils.analytic.classifier import Classifier
from dlgutils.analytic.mixing_system import row_scale_of, system_of


def classifier_of(seed, images, classes, features=20):
    """A random classifier, the inputs of a batch, and its labels."""
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randn(classes, features + 1, generator=generator, dtype=torch.float64)
    inputs = torch.randn(images, features + 1, generator=generator, dtype=torch.float64)
    inputs[:, -1] = 1
    y = torch.randint(classes, (images,), generator=generator)
    delta = (inputs @ weights.T).softmax(1) - mixing.labels_as_onehot(y, classes)
    return Classifier(weights, delta.T @ inputs / images), inputs, y


def system_and_truth(seed, images=3, classes=7):
    classifier, inputs, y = classifier_of(seed, images, classes)
    system = system_of(classifier, images, 1 / images, row_scale_of(classifier, 1e-13))
    return system, inputs @ system.basis.T, mixing.labels_as_onehot(y, classes)


def test_the_truth_solves_the_equations():
    system, m, onehot = system_and_truth(0)
    assert mixing.evaluate(system, m[None], onehot[None]).loss < 1e-24


def test_normal_equations_are_those_of_the_jacobian(seeded):
    system, m, onehot = system_and_truth(0)
    m = m + 0.1 * torch.randn(m.shape, generator=seeded(1), dtype=torch.float64)

    def errors(m):
        point = mixing.evaluate(system, m[None], onehot[None])
        return torch.cat([point.error.flatten(), point.ones_error.flatten()])

    jacobian = torch.func.jacrev(errors)(m).flatten(1)
    normal, gradient = mixing.normal_equations(
        system, mixing.evaluate(system, m[None], onehot[None])
    )
    torch.testing.assert_close(normal[0], jacobian.T @ jacobian)
    torch.testing.assert_close(gradient[0], jacobian.T @ errors(m))


def test_equations_of_single_images_hold_and_have_the_right_derivative(seeded):
    system, m, onehot = system_and_truth(0)
    frame = single_images.frame_of(system)
    assert frame.at(m, onehot).loss.max() < 1e-20
    m = m + 0.1 * torch.randn(m.shape, generator=seeded(1), dtype=torch.float64)

    def residual(v):
        return frame.at(v[None], onehot[:1]).residual[0]

    jacobian = torch.func.jacrev(residual)(m[0])
    torch.testing.assert_close(frame.at(m, onehot).jacobian[0], jacobian.T)


def test_single_images_agree_with_one_another(seeded):
    system, m, onehot = system_and_truth(3)
    v, y, _ = single_images.find(system, torch.arange(7), seeded(0))[0]
    distances = torch.cdist(v, m).min(1)
    assert distances.values.max() < 1e-4
    assert len(distances.indices.unique()) == len(v) > 0
    assert y.equal(onehot.argmax(1)[distances.indices])


@settings(max_examples=30)
@given(seed=st.integers(0, 2**31), images=st.integers(1, 12), classes=st.integers(2, 9))
def test_label_counts_never_exceed_the_truth(seed, images, classes):
    classifier, _, y = classifier_of(seed, images, classes)
    truth = y.bincount(minlength=classes)
    delta_sum = classifier.delta_sum(1 / images)
    least = label_counts.lower_bounds(delta_sum)
    assert (least <= truth).all()
    drawn = label_counts.draw(least, images, 5, torch.Generator().manual_seed(seed))
    assert drawn.shape == (5, images)
    for labels in drawn:
        assert (labels.bincount(minlength=classes) >= least).all()
    guess = label_counts.of_untrained(delta_sum, classifier.weights[:, -1], images)
    assert guess.sum() == images


def test_a_sum_that_was_divided_by_almost_nothing_is_that_of_no_batch():
    """As by the probability of a class that a sure network gives it."""
    delta_sum = torch.tensor([-1.4e28, 2.8e28, -1.4e28], dtype=torch.float64)
    assert not label_counts.possible(delta_sum, 1000)
    assert (label_counts.of_untrained(delta_sum, torch.zeros(3), 2) <= 2).all()


@given(seed=st.integers(0, 10_000), images=st.integers(1, 6), classes=st.integers(7, 12))
def test_rows_of_features_that_are_not_negative_show_the_classes(seed, images, classes):
    classifier, inputs, y = classifier_of(seed, images, classes)
    nothing = classifier._replace(gradient=torch.zeros_like(classifier.gradient))
    classifier = nothing.without(inputs.clamp(min=0), y, -1 / images)
    there = label_counts.present(classifier.gradient[:, :-1], 1e-12)
    counts = y.bincount(minlength=classes)
    assert not there[counts == 0].any()
    least = label_counts.lower_bounds(images * classifier.gradient[:, -1])
    sharper = label_counts.sharpened(least, there, images)
    assert (least <= sharper).all()
    assert (sharper <= counts).all()


def test_rows_that_show_more_classes_than_images_say_nothing():
    least = torch.tensor([1, 0, 0])
    there = torch.tensor([True, True, True])
    assert label_counts.sharpened(least, there, 2).equal(least)
    assert label_counts.sharpened(least, there, 3).tolist() == [1, 1, 1]


def test_label_counts_of_a_network_without_preferences_are_exact():
    y = torch.tensor([2, 2, 2, 0])
    delta_sum = torch.full((5,), 4 / 5) - y.bincount(minlength=5)
    guess = label_counts.of_untrained(delta_sum, torch.zeros(5), 4)
    assert guess.tolist() == [1, 0, 3, 0, 0]


def test_balanced_starts_have_the_sums_that_the_bias_shows(seeded):
    classifier, inputs, y = classifier_of(0, 3, 6)
    onehot = mixing.labels_as_onehot(y, 6)[None]
    delta_sum = classifier.delta_sum(1 / 3)
    guess = torch.rand(1, 3, 6, generator=seeded(0), dtype=torch.float64)
    p = mixing_starts.balanced(guess, onehot, delta_sum)
    truth = (inputs @ classifier.weights.T).softmax(1).sum(0)
    torch.testing.assert_close(p.sum(1)[0], truth, rtol=0.05, atol=0.02)
    torch.testing.assert_close(p.sum(2), torch.ones(1, 3).double())
