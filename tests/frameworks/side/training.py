"""Training of any of the networks, in a few seconds: surrogate gradients through time, on counts of output spikes."""

from __future__ import annotations

import torch
from side import digits

BATCH = 64


def tensors(pixels, labels, seed, shape):
    spikes = torch.from_numpy(digits.rate_coded(pixels, seed)).float()
    return spikes.reshape(*spikes.shape[:2], *shape), torch.from_numpy(labels)


def counts(traces):
    """Return how often each output neuron fired: (n, classes)."""
    spikes, _ = list(traces.values())[-1]
    return spikes.sum(0).flatten(1)


def train(network, shape, epochs, rate):
    """Train `network`, whose `run` takes spikes (T, n, *shape) and returns {layer: (spikes, potentials)}."""
    (pixels, labels), _ = digits.split()
    trained = torch.nn.Module.parameters(network.module)  # Rockpool's own `parameters` are a dict
    optimizer = torch.optim.Adam(trained, lr=rate)
    for epoch in range(epochs):
        spikes, target = tensors(pixels, labels, digits.SEED + epoch, shape)
        for chosen in torch.randperm(len(target)).split(BATCH):
            loss = torch.nn.functional.cross_entropy(counts(network.run(spikes[:, chosen])), target[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def tested(network, shape):
    """Return test spikes (T, n, *shape), labels, the traces of every layer, and the accuracy."""
    _, (pixels, labels) = digits.split()
    spikes, target = tensors(pixels, labels, 1000, shape)
    with torch.no_grad():
        traces = network.run(spikes)
    accuracy = (counts(traces).argmax(1) == target).float().mean().item()
    return spikes, target, traces, accuracy
