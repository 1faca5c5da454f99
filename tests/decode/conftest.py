"""Small tensors are worked on faster by one thread, above all beside other tests."""

from __future__ import annotations

import torch

torch.set_num_threads(1)
