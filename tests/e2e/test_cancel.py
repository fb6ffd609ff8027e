"""Cancelling in the middle of denoising, counted in forward passes, never in time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from conftest import Run
from editor import PATIENCE_S, Editor
from lsprotocol import types
from pygls.exceptions import JsonRpcException

FUNCTIONS = "".join(f"def f{i}(width, height=2, *rest):\n    \n\n" for i in range(20))


async def stopped_loop(client: Editor) -> Any:
    """The last loop that was stopped while it ran, once it has ended; None if it had finished before."""
    while True:
        stats = await client.stats()
        if stats.lastStop is None or stats.lastStop.ended is not None:
            return stats.lastStop


async def wait_for_first_draft(client: Editor) -> None:
    """Wait until denoising has begun."""
    await asyncio.wait_for(client.draft_came.wait(), PATIENCE_S)


def test_cancel_stops_the_loop_within_one_step(run: Run) -> None:
    async def test(client: Editor) -> None:
        before = await client.stats()
        client.open("file:///a.py", FUNCTIONS)
        for number in range(20):  # a short completion may be over before the cancellation arrives
            answer = client.ask("file:///a.py", 3 * number + 1, 4, id=f"r{number}")
            await wait_for_first_draft(client)
            client.cancel_request(types.CancelParams(id=f"r{number}"))
            try:
                await asyncio.wait_for(answer, PATIENCE_S)
            except JsonRpcException as error:
                assert error.code == types.LSPErrorCodes.RequestCancelled  # noqa: PT017
                break
        else:
            pytest.fail("every completion was over after its first draft")
        stop = await stopped_loop(client)
        assert stop is not None
        assert stop.ended - stop.told <= 1
        stats = await client.stats()
        assert stats.cancelled == before.cancelled + 1
        assert stats.forwardPasses == stop.ended  # nothing ran afterwards
        assert not client.drafts[-1].done
        assert (await client.items("file:///a.py", 1, 4)) is not None  # and the server goes on

    run(test)


def test_a_newer_request_stops_the_older_loop_within_one_step(run: Run) -> None:
    async def test(client: Editor) -> None:
        client.open("file:///a.py", FUNCTIONS)
        for number in range(0, 20, 2):
            older = client.ask("file:///a.py", 3 * number + 1, 4)
            await wait_for_first_draft(client)
            newer = client.ask("file:///a.py", 3 * number + 4, 4, token="newer")
            assert (await asyncio.wait_for(newer, PATIENCE_S)) is not None
            if await asyncio.wait_for(older, PATIENCE_S) is None:
                break
        else:
            pytest.fail("every completion was over before the newer request came")
        stop = await stopped_loop(client)
        assert stop.ended - stop.told <= 1
        assert (await client.stats()).superseded >= 1

    run(test)
