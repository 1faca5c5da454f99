"""Linear layers that say where their rows go, so that a start may tell them from others."""

from __future__ import annotations

from torch import nn


class ToStream(nn.Linear):
    """The last layer of a mixer or a feed-forward network: its rows are added to the stream."""


class InPlace(nn.Linear):
    """A linear layer that stands in the place of another, with its weight in another form."""

    ends = False
    """Whether that is the last layer of a mixer or a feed-forward network."""


def ends_sublayer(layer: nn.Linear) -> bool:
    """Whether a linear layer, or the one in whose place it stands, is the last of a mixer or a feed-forward network."""
    return isinstance(layer, ToStream) or (isinstance(layer, InPlace) and layer.ends)


class ToLogits(nn.Linear):
    """The last layer of an output; where it is tied, its weight is the embedding's table."""


class AsMatrix:
    """Marks a linear layer whose weight other code reads, beside its forward or in its place (mixed in). Who puts
    another layer in its place would change nothing, or break what reads it, so add-ons leave it as it is and say so."""


class Matrix(nn.Linear, AsMatrix):
    """A linear layer whose weight is read as a matrix."""
