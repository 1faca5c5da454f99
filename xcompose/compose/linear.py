"""Linear layers that say where their rows go, so that a start may tell them from others."""

from __future__ import annotations

from torch import nn


class ToStream(nn.Linear):
    """The last layer of a mixer or a feed-forward network: its rows are added to the stream."""


class ToLogits(nn.Linear):
    """The last layer of an output; where it is tied, its weight is the embedding's table."""
