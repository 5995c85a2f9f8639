"""The [network] section of a recipe with method "sstdp". Needs no torch."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from spikegraph.trainer.architecture import parse
from spikegraph.trainer.sections import Positive, Section

Share = Annotated[float, Field(ge=0, le=1)]
Amount = Annotated[float, Field(ge=0, le=1e6)]


class OneSpikeSection(Section):
    """A network of integrate-and-fire populations whose neurons fire at most once; the first output to fire decides."""

    layers: str = Field(description='words such as "16c5 mp2 400 do0.2": see docs/recipes.md')
    method: Literal["sstdp"]
    readout: Literal["first_spike"] = "first_spike"
    v_threshold: Positive = Field(default=1.0, description="of the output; that of hidden layers is 1")
    urgency: Amount = Field(default=0.0, description="what a bias adds to v of the output in a window, in thresholds")
    weights: Literal["normal", "positive"] = Field(
        default="normal", description="where they start: normal around 0, or uniform from 0 up"
    )
    spread: Positive = Field(default=1.5, description="normal: their standard deviation times the root of the fan-in")
    sums: tuple[Positive, ...] | None = Field(
        default=None, description="positive: for each layer, the mean of all weights onto a neuron together"
    )
    rule: Literal["margin", "causal", "stdp"] = "margin"
    surrogate: Literal["arctan", "fast_sigmoid", "triangle"] = Field(default="triangle", description="for rule margin")
    causal: Amount = Field(default=1.0, description="for rules causal and stdp, as what follows")
    anticausal: Amount = 0.0
    normalize: bool = True
    tau: Positive = Field(default=50.0, description="for rule stdp, in steps, as what follows")
    offset: Amount = 0.0
    w_max: Positive = 1.0
    mu: Amount = 1.0
    aim: Literal["evidence", "paper", "code"] = "evidence"
    delta: Positive = Field(default=5.0, description="for aims paper and code, in steps")
    gain: Positive = Field(default=4.0, description="for aim evidence, as what follows")
    margin: Amount = 0.5
    margin_weight: Amount = 1.0
    at_decision: Share = 0.5

    @field_validator("layers")
    @classmethod
    def _can_be_built(cls, text: str) -> str:
        before = ""
        for layer in parse(text):
            if layer.kind not in ("conv", "maxpool", "dense", "dropout"):
                raise ValueError(f"a one-spike network has no {layer.kind} layers; use 16c5, mp2, 400 and do0.2")
            if layer.kind == "dropout" and before not in ("conv", "dense"):
                raise ValueError("dropout is of the spikes of a convolution or a dense layer, and follows it")
            before = layer.kind
        return text

    @model_validator(mode="after")
    def _go_together(self) -> Self:
        if (self.rule == "margin") != (self.aim == "evidence"):
            what = f"rule {self.rule!r} learns from {'potentials' if self.rule == 'margin' else 'spike times'}"
            raise ValueError(f"{what}, and aim {self.aim!r} does not; use margin with evidence, or neither")
        n_layers = 1 + sum(layer.kind in ("conv", "dense") for layer in parse(self.layers))
        if self.weights == "positive" and len(self.sums or ()) != n_layers:
            raise ValueError(f"positive weights need {n_layers} sums, one for each layer and the output")
        return self
