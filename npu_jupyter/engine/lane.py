"""A loaded model's waiting line: bounded, and fair by caller rather than by request."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import OrderedDict, deque
from dataclasses import dataclass, field

from npu_jupyter.errors import EngineBusy, NpuError, RateLimited

_MIN_RETRY_AFTER_S = 1.0
_MAX_RETRY_AFTER_S = 120.0  # openai-python does not retry at all above this


@dataclass(frozen=True, slots=True)
class LaneLimits:
    """How much a lane takes in."""

    max_running: int
    """Sequences in the engine at once."""
    max_waiting: int
    """Requests in line, of all callers; 0 is no limit."""
    max_waiting_per_caller: int
    """Requests in line of one caller; 0 is no limit."""


@dataclass(eq=False)
class Ticket:
    """One request's place: first in line, then in the engine."""

    caller: str
    weight: int
    lane: Lane
    admitted: asyncio.Future[None] = field(init=False)
    started: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        """Prepare to be admitted on the running loop."""
        self.admitted = asyncio.get_running_loop().create_future()

    async def wait(self, timeout_s: float) -> bool:
        """Wait to be admitted; False after `timeout_s`.

        Raises:
            NpuError: with which the lane was closed.
        """
        await asyncio.wait([self.admitted], timeout=timeout_s)
        if not self.admitted.done():
            return False
        self.admitted.result()
        return True

    @property
    def position(self) -> int:
        """Count the requests that go first, plus one; 0 once admitted."""
        return self.lane.position(self)

    def leave(self) -> None:
        """Give the place up, in line or in the engine; safe to call twice."""
        self.lane.leave(self)


class Lane:
    """Admits requests in turns, one caller after the other."""

    def __init__(self, limits: LaneLimits) -> None:
        """Open an empty lane."""
        self.limits = limits
        self._waiting: OrderedDict[str, deque[Ticket]] = OrderedDict()
        self._running: set[Ticket] = set()
        self.closed: NpuError | None = None
        """Why nobody is let in any more."""
        self._mean_duration_s = 5.0
        self._drained = asyncio.Event()
        self._drained.set()

    @property
    def running(self) -> int:
        """Count the requests in the engine."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """Count the requests in line."""
        return sum(len(line) for line in self._waiting.values())

    def join(self, caller: str, weight: int = 1) -> Ticket:
        """Take a place for a request of `weight` sequences.

        Raises:
            RateLimited: when this caller has his share of the line already.
            EngineBusy: when the line is full.
            NpuError: with which the lane was closed.
        """
        if self.closed:
            raise self.closed
        self._check_room(caller)
        ticket = Ticket(caller, min(weight, self.limits.max_running), self)
        self._waiting.setdefault(caller, deque()).append(ticket)
        self._admit()
        return ticket

    def _check_room(self, caller: str) -> None:
        limits = self.limits
        mine = len(self._waiting.get(caller, ()))
        if limits.max_waiting_per_caller and mine >= limits.max_waiting_per_caller:
            message = (
                f"You have {mine} requests waiting for this model, which is your share. "
                "Wait for some to finish, then send more."
            )
            raise RateLimited(message, retry_after_s=self.retry_after_s(mine))
        waiting = self.waiting
        if limits.max_waiting and waiting >= limits.max_waiting:
            message = (
                f"{waiting} requests are waiting for this model and its line is full. "
                "Try again later."
            )
            raise EngineBusy(message, retry_after_s=self.retry_after_s(waiting))

    def retry_after_s(self, ahead: int) -> float:
        """Estimate the seconds until `ahead` requests are through."""
        estimate = ahead * self._mean_duration_s / self.limits.max_running
        return min(max(round(estimate), _MIN_RETRY_AFTER_S), _MAX_RETRY_AFTER_S)

    def position(self, ticket: Ticket) -> int:
        """Say how many are admitted before `ticket`, itself included; 0 if it is not in line."""
        line = self._waiting.get(ticket.caller)
        if line is None or ticket not in line:
            return 0
        mine = line.index(ticket)
        ahead, before_me = mine + 1, True
        for caller, others in self._waiting.items():
            if caller == ticket.caller:
                before_me = False
            else:
                ahead += min(len(others), mine + before_me)
        return ahead

    def leave(self, ticket: Ticket) -> None:
        """Remove `ticket` from the line or from the engine and admit who is next."""
        if ticket in self._running:
            self._running.discard(ticket)
            if not self._running:
                self._drained.set()
            duration = time.monotonic() - ticket.started
            self._mean_duration_s += 0.1 * (duration - self._mean_duration_s)
        else:
            line = self._waiting.get(ticket.caller)
            if line and ticket in line:
                line.remove(ticket)
                if not line:
                    del self._waiting[ticket.caller]
        self._admit()

    def close(self, error: NpuError) -> None:
        """Turn everyone in line away with `error`, and all who come after."""
        self.closed = error
        for line in self._waiting.values():
            for ticket in line:
                if not ticket.admitted.done():
                    ticket.admitted.set_exception(error)
                    ticket.admitted.exception()  # read, or asyncio complains of those who left
        self._waiting.clear()

    async def drain(self, timeout_s: float) -> None:
        """Wait until nothing runs, `timeout_s` at most."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._drained.wait(), timeout_s)

    def _admit(self) -> None:
        """Let in as many as fit, a request of each caller in turn."""
        room = self.limits.max_running - sum(ticket.weight for ticket in self._running)
        while self._waiting:
            caller, line = next(iter(self._waiting.items()))
            if line[0].weight > room:
                return  # letting smaller ones by would starve the big one
            ticket = line.popleft()
            if line:
                self._waiting.move_to_end(caller)
            else:
                del self._waiting[caller]
            room -= ticket.weight
            ticket.started = time.monotonic()
            self._running.add(ticket)
            self._drained.clear()
            ticket.admitted.set_result(None)
