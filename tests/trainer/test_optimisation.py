"""Learning rates by hand, optimizers by their settings, and when training ends."""

import math

import pytest
import torch

from spikegraph.trainer.optimisation import learning_rate, make_optimizer
from spikegraph.trainer.sections import TrainingSection
from spikegraph.trainer.stopping import best_epoch, is_over, kept_epoch


def settings(**changes):
    return TrainingSection(**{"epochs": 4, "batch_size": 16, "learning_rate": 0.8} | changes)


@pytest.mark.parametrize(
    ("changes", "rates"),
    [
        ({}, [0.8, 0.4 + 0.4 * math.sqrt(0.5), 0.4, 0.4 - 0.4 * math.sqrt(0.5)]),
        ({"schedule": "constant"}, [0.8] * 4),
        ({"schedule": "exponential", "decay": 0.5}, [0.8, 0.4, 0.2, 0.1]),
        ({"schedule": "step", "decay": 0.5, "decay_every": 2}, [0.8, 0.8, 0.4, 0.4]),
        ({"schedule": "step", "decay": 0.5, "decay_every": 2, "warmup_epochs": 1}, [0.8, 0.8, 0.8, 0.4]),
        ({"schedule": "exponential", "decay": 0.5, "warmup_epochs": 2}, [0.4, 0.8, 0.8, 0.4]),
        ({"warmup_epochs": 2}, [0.4, 0.8, 0.8, 0.4]),
        ({"warmup_epochs": 8}, [0.1, 0.2, 0.3, 0.4]),  # training ends before the warm-up does
    ],
)
def test_learning_rates(changes, rates):
    assert [learning_rate(settings(**changes), epoch) for epoch in range(4)] == pytest.approx(rates)


def test_the_warm_up_climbs_with_each_batch():
    rates = [learning_rate(settings(warmup_epochs=2), epoch, done) for epoch in (0, 1) for done in (0.5, 1)]
    assert rates == pytest.approx([0.2, 0.4, 0.6, 0.8])


def test_the_published_schedule_of_stl():
    recipe = settings(epochs=100, learning_rate=1e-3, optimizer="adam", schedule="exponential", decay=0.93)
    assert learning_rate(recipe, 10) == pytest.approx(1e-3 * 0.93**10)


@pytest.mark.parametrize(
    ("changes", "step"),
    [
        # From w = 2 with gradient 1 and rate 0.5 · w; weight decay λ = 0.1.
        ({"optimizer": "sgd"}, 0.5),
        ({"optimizer": "sgd", "weight_decay": 0.1}, 0.5 * (1 + 0.1 * 2)),
        ({"optimizer": "adam"}, 0.5),  # the first step of Adam is the rate itself
        ({"optimizer": "adam", "weight_decay": 0.1}, 0.5),  # added to the gradient, whose size Adam divides out
        ({"optimizer": "adamw", "weight_decay": 0.1}, 0.5 + 0.5 * 0.1 * 2),  # beside it
    ],
)
def test_the_first_step_of_each_optimizer(changes, step):
    w = torch.nn.Parameter(torch.tensor(2.0))
    optimizer = make_optimizer(settings(learning_rate=0.5, **changes), [w])
    w.sum().backward()
    optimizer.step()
    assert 2 - float(w.detach()) == pytest.approx(step)


def test_momentum_adds_up():
    w = torch.nn.Parameter(torch.tensor(2.0))
    optimizer = make_optimizer(settings(learning_rate=0.5, optimizer="sgd", momentum=0.5), [w])
    for _ in range(2):
        optimizer.zero_grad()
        w.sum().backward()
        optimizer.step()
    assert 2 - float(w.detach()) == pytest.approx(0.5 * 1 + 0.5 * 1.5)


def history(*accuracies):
    return [{"epoch": e, "validation_accuracy": a} for e, a in enumerate(accuracies, start=1)]


@pytest.mark.parametrize(
    ("patience", "accuracies", "over"),
    [
        (None, [], False),
        (None, [0.9, 0.1, 0.1], False),
        (None, [0.1, 0.2, 0.3, 0.4], True),  # all four epochs
        (1, [], False),
        (1, [0.5], False),
        (1, [0.5, 0.5], True),
        (2, [0.5, 0.4], False),
        (2, [0.5, 0.4, 0.5], True),
        (2, [0.5, 0.4, 0.6], False),
    ],
)
def test_when_training_is_over(patience, accuracies, over):
    assert is_over(settings(patience=patience), history(*accuracies)) is over


def test_the_first_of_the_best_is_kept():
    epochs = history(0.1, 0.7, 0.7, 0.3)
    assert best_epoch(settings(), epochs) == 1
    assert kept_epoch(settings(keep="best"), epochs) == 1
    assert kept_epoch(settings(), epochs) == 3


def test_epochs_in_floats_are_not_compared_with_those_in_integers():
    recipe = settings(epochs=9, float_epochs=2, patience=1, keep="best")
    assert not is_over(recipe, history(0.9, 0.1))
    assert best_epoch(recipe, history(0.9, 0.1)) == 0  # no other yet
    assert best_epoch(recipe, history(0.9, 0.1, 0.2)) == 2
    assert not is_over(recipe, history(0.9, 0.1, 0.2))
    assert is_over(recipe, history(0.9, 0.1, 0.2, 0.2))
