"""Widgets for notebooks: chat, two models side by side, the models here, and fine-tuning."""

from __future__ import annotations

from npu_jupyter.widgets.chat import Chat
from npu_jupyter.widgets.compare import Compare
from npu_jupyter.widgets.finetune import FineTune
from npu_jupyter.widgets.models import Models
from npu_jupyter.widgets.monitor import Monitor

__all__ = ["Chat", "Compare", "FineTune", "Models", "Monitor"]
