"""``python -m fake_worker``: speaks the engine's messages without a model, and misbehaves as told.

What to do comes by configuration: ``Launcher.device_properties = {"CPU": {"fault": "deaf"}}``.
An answer is the words ``0 1 2 …``, one a step. The prompt ``report`` is answered with what the
worker knows of its requests: its own id, which of them run, and which were cancelled.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from enum import StrEnum

from npu_jupyter.engine.messages import (
    Cancel,
    Delta,
    Embed,
    Embedded,
    Exit,
    Finished,
    Generate,
    Load,
    Loaded,
    LoadError,
    Loading,
    Output,
    Started,
    Step,
    ToWorker,
)
from npu_jupyter.engine.worker.channel import Channel, connect

_FAULT_EXIT_CODE = 9
_STEP_S = 0.005
_MIB = 2**20


class Fault(StrEnum):
    """What a worker can do wrong."""

    NONE = "none"
    REFUSE = "refuse"
    """Says that the model cannot be loaded."""
    DIE_LOADING = "die_loading"
    DIE_LOADED = "die_loaded"
    DIE_ANSWERING = "die_answering"
    """Ends after three words."""
    HANG_LOADING = "hang_loading"
    """Never gets ready, and listens to nobody meanwhile, as a compiler does."""
    DEAF = "deaf"
    """Goes on with requests that were cancelled."""
    STAY = "stay"
    """Does not end when it is told to."""


@dataclass
class Running:
    """A request that gets a word at each step."""

    request: Generate
    words: int = 0


class FakeWorker:
    """The loop of a worker, around nothing."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        load = channel.receive()
        assert isinstance(load, Load)
        self._load = load
        self._fault = Fault(load.properties.get("fault", Fault.NONE))
        self._running: dict[int, Running] = {}
        self._cancelled: list[int] = []
        self._exit = False

    def load(self) -> None:
        """Go through the stages of a load, as far as the fault lets it."""
        properties = self._load.properties
        self._channel.send(Loading("read"))
        if self._fault is Fault.REFUSE or self._load.device in properties.get("refused_on", []):
            self._channel.send(LoadError("these weights are bent"))
            self._channel.close()
            raise SystemExit(1)
        if self._fault is Fault.DIE_LOADING:
            os._exit(_FAULT_EXIT_CODE)
        self._channel.send(Loading("compile"))
        while self._fault is Fault.HANG_LOADING:
            time.sleep(1)
        time.sleep(properties.get("load_s", 0))
        self._memory = bytearray(os.urandom(_MIB)) * properties.get("takes_mib", 1)
        self._channel.send(Loading("warm_up"))
        length = 2 if self._load.type == "embedding" else None
        self._channel.send(Loaded(self._load.device, 2048, length, self._load.max_running))
        if self._fault is Fault.DIE_LOADED:
            time.sleep(0.05)  # long enough for the last word to get out
            os._exit(_FAULT_EXIT_CODE)

    def serve(self) -> None:
        """Answer until told to end."""
        while not self._exit or self._fault is Fault.STAY:
            if self._running:
                for message in self._channel.pending():
                    self._handle(message)
                self._step()
                time.sleep(self._load.properties.get("step_s", _STEP_S))
            else:
                self._handle(self._channel.receive())

    def _handle(self, message: ToWorker) -> None:
        match message:
            case Generate(id=request, prompts=["report"]):
                self._send(Started(request, 1), self._report(request), Finished(request))
            case Generate(id=request):
                self._send(Started(request, 1))
                self._running[request] = Running(message)
            case Embed(id=request, inputs=inputs):
                self._send(Embedded(request, bytes(8) * len(inputs), len(inputs)))
            case Cancel(id=request):
                self._cancelled.append(request)
                if self._fault is not Fault.DEAF:
                    self._running.pop(request, None)
            case Exit():
                self._exit = True

    def _report(self, request: int) -> Delta:
        facts = {
            "request": request,
            "running": sorted(self._running),
            "cancelled": self._cancelled,
            "pid": os.getpid(),
        }
        return Delta(request, 0, text=json.dumps(facts), tokens=1, finish_reason="stop")

    def _step(self) -> None:
        outputs: list[Output] = []
        for request, running in list(self._running.items()):
            if self._fault is Fault.DIE_ANSWERING and running.words == 3:
                os._exit(_FAULT_EXIT_CODE)
            text = f"{running.words} "
            running.words += 1
            done = running.words >= (running.request.sampling.max_tokens or 8)
            reason = "length" if done else None
            outputs.append(Delta(request, 0, text=text, tokens=1, finish_reason=reason))
            if done:
                outputs.append(Finished(request))
                del self._running[request]
        self._send(*outputs)

    def _send(self, *outputs: Output) -> None:
        self._channel.send(Step(list(outputs)))


def main() -> None:
    """Serve until the server says so or goes away."""
    worker = FakeWorker(connect())
    worker.load()
    worker.serve()


if __name__ == "__main__":
    main()
