"""Widgets for notebooks: chat, two models side by side, the models here, and fine-tuning."""

from __future__ import annotations

from npu_jupyter.widgets.chat import Chat

__all__ = ["Chat"]
