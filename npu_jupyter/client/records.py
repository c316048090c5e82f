"""What a server tells, as values: read leniently, so that a newer server can tell more."""

from __future__ import annotations

import time
from typing import Any

from msgspec import Struct, field

from npu_jupyter.client import views


class Model(Struct, views.Shown, frozen=True, kw_only=True):
    """A registered model, loaded or not."""

    id: str
    """Its name, as requests give it."""
    registry_id: int = 0
    created: int = 0
    """Unix time in seconds."""
    status: str = ""
    type: str = ""
    """``llm`` or ``embedding``."""
    device: str | None = None
    """Where it is loaded; None when it is not."""
    format: str = ""
    architecture: str | None = None
    precision: str | None = None
    context_length: int | None = None
    """Tokens of prompt and answer together."""
    size_bytes: int = 0
    parent: str | None = None
    """The base of an adapter."""

    @property
    def fingerprint(self) -> str:
        """Tell this import from an earlier one of the same name."""
        return f"{self.id} {self.created} {self.format} {self.precision} {self.size_bytes}"

    def _view(self) -> views.Table:
        return views.model_table([self])


class LoadedModel(Struct, frozen=True, kw_only=True):
    """A model in memory, with its requests."""

    name: str
    type: str = ""
    device: str = ""
    status: str = ""
    loaded_at: int = 0
    """Unix time in seconds."""
    uptime_seconds: float = 0.0
    memory_bytes: int = 0
    requests_running: int = 0
    requests_waiting: int = 0
    max_running: int = 1
    """Sequences that run at once."""
    last_used: float = 0.0
    """Unix time in seconds."""
    pinned: bool = False
    keep_alive_s: float = 0.0
    """Seconds without a request until it is unloaded; 0 is never."""
    context_length: int = 0
    tokens_generated: int = 0

    @property
    def idle_s(self) -> float:
        """Seconds since anyone used it."""
        return max(0.0, time.time() - self.last_used)


class Device(Struct, frozen=True, kw_only=True):
    """A device that models can run on, or one that is there and cannot be used."""

    name: str
    """What `load` takes as `device`: NPU, GPU, GPU.1, CPU."""
    full_name: str = ""
    available: bool = True
    driver: str | None = None
    memory_bytes: int | None = None
    capabilities: list[str] = field(default_factory=list)
    advice: str | None = None
    """What to do when it cannot be used."""


class Loading(Struct, frozen=True, kw_only=True):
    """How far a load is."""

    stage: str
    """``find``, ``read``, ``compile`` or ``warm_up``."""
    percent: float | None = None
    """None until the model was loaded once on that machine."""
    eta_seconds: float | None = None


class Loaded(Struct, frozen=True, kw_only=True):
    """The end of a load."""

    status: str
    """``loaded``, or ``already_loaded``."""
    model: str
    type: str = ""
    device: str = ""
    loaded_at: int = 0


class Pull(Struct, frozen=True, kw_only=True):
    """An import of a model, under way or over."""

    id: int
    source: str
    name: str | None = None
    precision: str | None = None
    created: int = 0
    status: str = ""
    """``queued``, ``running``, ``completed``, ``failed`` or ``cancelled``."""
    stage: str = ""
    done_bytes: int = 0
    total_bytes: int = 0
    message: str = ""
    model: str | None = None
    """The name under which it was registered, once it is."""
    error: dict[str, Any] | None = None

    @property
    def over(self) -> bool:
        """Whether nothing more will come of it."""
        return self.status in {"completed", "failed", "cancelled"}


class ModelList(views.Shown, list[Model]):
    """Models, shown as a table."""

    def _view(self) -> views.Table:
        return views.model_table(self)

    __repr__ = views.Shown._repr_plain_


class LoadedList(views.Shown, list[LoadedModel]):
    """Models in memory, shown as a table."""

    def _view(self) -> views.Table:
        return views.loaded_table(self)

    __repr__ = views.Shown._repr_plain_


class DeviceList(views.Shown, list[Device]):
    """Devices, shown as cards, or as a table where there is no HTML."""

    def _view(self) -> views.Table:
        return views.device_table(self)

    def _repr_html_(self) -> str:
        return views.cards(views.device_card(device) for device in self)

    __repr__ = views.Shown._repr_plain_
