"""Adapters of a model: which there are, which of them act, what they weigh, and files of them.

import xcompose as xc

model = xc.load("runs/two-languages")
xc.adapters.use(model, "de")
"""

from __future__ import annotations

from xcompose.compose.adapter_files import about_adapter as about
from xcompose.compose.adapter_files import attach_adapter as attach
from xcompose.compose.adapter_files import base_hash as base_hash
from xcompose.compose.adapter_files import load_adapter as load
from xcompose.compose.adapter_files import save_adapter as save
from xcompose.compose.adapters import active as active
from xcompose.compose.adapters import adapter_weights as weights
from xcompose.compose.adapters import adapters_of as names
from xcompose.compose.adapters import use as use
from xcompose.compose.tuned import merge as merge

__all__ = ["about", "active", "attach", "base_hash", "load", "merge", "names", "save", "use", "weights"]
