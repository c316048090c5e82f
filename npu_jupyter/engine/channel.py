"""The server's end of the line to a worker."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable

import zmq

from npu_jupyter.engine import process
from npu_jupyter.engine.messages import (
    Address,
    FromWorker,
    ToWorker,
    decode_from_worker,
    encode,
)


class Channel:
    """Messages to and from one worker.

    It is ZeroMQ. CURVE encrypts it, and the server's public key, told to the child alone, is the
    secret without which nobody can connect.

    The loop watches the socket and not pyzmq's own asyncio socket, whose futures and bookkeeping
    for each message took a third of the server's time for a token.
    """

    def __init__(self, handle: Callable[[FromWorker], None]) -> None:
        """Listen on a free port; `handle` is called on the running loop for each message."""
        self._handle = handle
        self._loop = asyncio.get_running_loop()
        self._unsent: deque[bytes] = deque()
        context: zmq.SyncContext = zmq.Context.instance()
        self._socket = context.socket(zmq.PAIR)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.SNDHWM, 0)
        self._socket.setsockopt(zmq.RCVHWM, 0)
        public, self._socket.curve_secretkey = zmq.curve_keypair()
        self._socket.curve_server = True
        self._socket.bind(process.free_endpoint())
        self.address = Address(self._socket.getsockopt_string(zmq.LAST_ENDPOINT), public)
        self._loop.add_reader(self._socket.fileno(), self._advance)

    def send(self, message: ToWorker) -> None:
        """Queue `message`, until the worker has connected if need be."""
        self._unsent.append(encode(message))
        self._flush()
        # ZeroMQ's descriptor tells of a change once, and sending may have taken it in.
        self._loop.call_soon(self._advance)

    def _advance(self) -> None:
        """Do what the socket is ready for."""
        if not self._socket.closed:  # a call may come late
            self._flush()
            self._receive()

    def _flush(self) -> None:
        with contextlib.suppress(zmq.Again):
            while self._unsent:
                self._socket.send(self._unsent[0], zmq.NOBLOCK)
                self._unsent.popleft()

    def _receive(self) -> None:
        with contextlib.suppress(zmq.Again):
            while True:
                self._handle(decode_from_worker(self._socket.recv(zmq.NOBLOCK)))

    def close(self) -> None:
        """Handle what has come already, and hang up."""
        self._receive()
        self._loop.remove_reader(self._socket.fileno())
        self._socket.close()
