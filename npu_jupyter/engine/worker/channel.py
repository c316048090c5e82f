"""The worker's end of the line to its server."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator

import msgspec
import zmq

from npu_jupyter.engine.messages import Address, FromWorker, ToWorker, decode_to_worker, encode


class Channel:
    """Messages to and from the server."""

    def __init__(self, address: Address) -> None:
        """Connect to the server that started this process."""
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.PAIR)
        self._socket.setsockopt(zmq.SNDHWM, 0)
        self._socket.setsockopt(zmq.RCVHWM, 0)
        self._socket.curve_publickey, self._socket.curve_secretkey = zmq.curve_keypair()
        self._socket.curve_serverkey = address.server_key
        self._socket.connect(address.endpoint)

    def send(self, message: FromWorker) -> None:
        """Hand `message` to the server."""
        self._socket.send(encode(message))

    def receive(self) -> ToWorker:
        """Wait for the next message."""
        return decode_to_worker(self._socket.recv())

    def pending(self) -> Iterator[ToWorker]:
        """Yield the messages that are here, without waiting."""
        while self._socket.poll(0):
            yield self.receive()

    def close(self) -> None:
        """Send what is queued, then hang up."""
        self._socket.close(linger=1000)
        self._context.term()


def connect() -> Channel:
    """Read the address from standard input; end this process when the server closes the pipe."""
    stdin = sys.stdin.fileno()
    line = sys.stdin.buffer.readline()

    def end_with_server() -> None:
        # Not through sys.stdin, whose lock a thread must not hold when the interpreter ends.
        while os.read(stdin, 1):
            pass
        # A step of the engine may be running; nothing of ours is worth waiting for.
        os._exit(1)

    threading.Thread(target=end_with_server, daemon=True).start()
    return Channel(msgspec.json.decode(line, type=Address))
