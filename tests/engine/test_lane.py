"""A model's line: turns by caller, bounds, places, and what happens when it closes."""

from __future__ import annotations

import asyncio

import pytest

from npu_jupyter.engine.lane import Lane, LaneLimits, Ticket
from npu_jupyter.errors import EngineBusy, ModelUnloaded, RateLimited

pytestmark = pytest.mark.asyncio

AT_ONCE_S = 0.01
LONG_S = 30


def lane(running: int = 1, waiting: int = 0, per_caller: int = 0) -> Lane:
    return Lane(LaneLimits(running, waiting, per_caller))


async def admitted(ticket: Ticket) -> bool:
    return await ticket.wait(AT_ONCE_S)


def order_of(line: Lane, first: Ticket, tickets: dict[Ticket, str]) -> list[str]:
    """Let one after the other through and give the names in the order of their admission."""
    order = []
    running = first
    while len(order) < len(tickets):
        running.leave()
        running = next(t for t in tickets if t.admitted.done() and tickets[t] not in order)
        order.append(tickets[running])
    return order


async def test_requests_run_until_the_engine_is_full() -> None:
    line = lane(running=2)
    first, second, third = (line.join("ada") for _ in range(3))
    assert await admitted(first)
    assert await admitted(second)
    assert not await admitted(third)
    assert (line.running, line.waiting) == (2, 1)
    second.leave()
    assert await admitted(third)
    assert (line.running, line.waiting) == (2, 0)


async def test_turns_go_round_the_callers_and_not_round_their_requests() -> None:
    line = lane()
    first = line.join("ada")
    tickets = {line.join("ada"): f"ada {i}" for i in range(4)}
    tickets[line.join("bob")] = "bob 0"
    tickets[line.join("bob")] = "bob 1"
    tickets[line.join("eve")] = "eve 0"
    order = order_of(line, first, tickets)
    assert order == ["ada 0", "bob 0", "eve 0", "ada 1", "bob 1", "ada 2", "ada 3"]


async def test_the_place_in_line_is_the_number_of_turns_until_admission() -> None:
    line = lane()
    first = line.join("ada")
    tickets = {line.join(name): f"{name} {i}" for i in range(3) for name in ("ada", "bob")}
    tickets[line.join("eve")] = "eve 0"
    places = {name: ticket.position for ticket, name in tickets.items()}
    order = order_of(line, first, tickets)
    assert places == {name: order.index(name) + 1 for name in order}


async def test_a_request_that_runs_has_no_place_in_line() -> None:
    line = lane()
    ticket = line.join("ada")
    assert ticket.position == 0
    ticket.leave()
    assert ticket.position == 0


async def test_a_caller_over_his_share_is_told_when_to_come_back() -> None:
    line = lane(per_caller=2)
    for _ in range(3):  # one runs, two wait
        line.join("ada")
    with pytest.raises(RateLimited, match="2 requests waiting") as caught:
        line.join("ada")
    assert caught.value.retry_after_s
    assert line.join("bob").position == 2


async def test_a_full_line_turns_everyone_away() -> None:
    line = lane(waiting=2)
    for caller in ("ada", "bob", "eve"):
        line.join(caller)
    with pytest.raises(EngineBusy, match="2 requests are waiting") as caught:
        line.join("kim")
    assert caught.value.retry_after_s
    assert line.waiting == 2


async def test_a_line_without_limits_takes_all() -> None:
    line = lane()
    for _ in range(5_000):
        line.join("ada")
    assert line.waiting == 4_999


async def test_many_choices_take_as_many_places() -> None:
    line = lane(running=4)
    three = line.join("ada", weight=3)
    two = line.join("bob", weight=2)
    one = line.join("eve", weight=1)
    assert await admitted(three)
    assert not await admitted(two)
    assert not await admitted(one), "smaller requests must not starve the big one"
    three.leave()
    assert await admitted(two)
    assert await admitted(one)


async def test_more_choices_than_places_run_alone() -> None:
    line = lane(running=4)
    small = line.join("ada")
    huge = line.join("bob", weight=100)
    assert not await admitted(huge)
    small.leave()
    assert await admitted(huge)
    assert not await admitted(line.join("eve"))


async def test_who_leaves_the_line_is_not_waited_for() -> None:
    line = lane()
    first, gone, last = (line.join(name) for name in ("ada", "bob", "eve"))
    gone.leave()
    gone.leave()
    assert last.position == 1
    first.leave()
    assert await admitted(last)
    assert not await admitted(gone)
    assert (line.running, line.waiting) == (1, 0)


async def test_leaving_twice_frees_one_place() -> None:
    line = lane()
    first, second, third = (line.join("ada") for _ in range(3))
    first.leave()
    first.leave()
    assert await admitted(second)
    assert not await admitted(third)


async def test_a_closed_line_sends_those_in_it_away_and_lets_the_running_finish() -> None:
    line = lane()
    running, waiting = line.join("ada"), line.join("bob")
    line.close(ModelUnloaded("It was unloaded."))
    with pytest.raises(ModelUnloaded):
        await waiting.wait(LONG_S)
    with pytest.raises(ModelUnloaded):
        line.join("eve")
    waiting.leave()
    assert line.running == 1
    running.leave()
    assert line.running == 0


async def test_draining_waits_for_the_running_or_for_its_limit() -> None:
    line = lane()
    ticket = line.join("ada")
    await line.drain(AT_ONCE_S)
    assert line.running == 1
    drained = asyncio.create_task(line.drain(LONG_S))
    await asyncio.sleep(0)
    assert not drained.done()
    ticket.leave()
    await drained
    await line.drain(LONG_S)  # nothing runs: no wait
