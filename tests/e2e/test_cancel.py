"""Cancelling in the middle of denoising, counted in the passes that ran, never in time.

The engine is scripted and would run 500 passes; what the native loop does is in tests/test_worker.py.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from conftest import Run
from editor import PATIENCE_S, Editor
from lsprotocol import types
from pygls.exceptions import JsonRpcException
from scripts import VALUE, goes_on, sharpens

SOURCE = "first = \n\nsecond = \n"


async def stopped_loop(client: Editor) -> Any:
    """The last loop that was stopped while it ran, once it has ended."""
    while True:
        stats = await client.stats()
        if stats.lastStop is not None and stats.lastStop.ended is not None:
            return stats.lastStop


async def wait_for_first_draft(client: Editor) -> None:
    """Wait until denoising has begun."""
    await asyncio.wait_for(client.draft_came.wait(), PATIENCE_S)


def test_cancel_stops_the_loop_within_one_step(run: Run) -> None:
    async def test(client: Editor) -> None:
        before = await client.stats()
        client.open("file:///a.py", SOURCE)
        answer = client.ask("file:///a.py", 0, 8, id="cancelled")
        await wait_for_first_draft(client)
        client.cancel_request(types.CancelParams(id="cancelled"))
        with pytest.raises(JsonRpcException) as error:
            await asyncio.wait_for(answer, PATIENCE_S)
        assert error.value.code == types.LSPErrorCodes.RequestCancelled
        stop = await stopped_loop(client)
        assert stop.ended - stop.told <= 1
        stats = await client.stats()
        assert stats.cancelled == before.cancelled + 1
        assert stats.forwardPasses == stop.ended  # nothing ran afterwards
        assert not client.drafts[-1].done
        [item] = await client.items("file:///a.py", 2, 9)
        assert item.insert_text == VALUE  # the server goes on
        assert (await client.stats()).forwardPasses == stop.ended + 3

    run(test, goes_on("first = "), sharpens("second = ", VALUE))


def test_a_newer_request_stops_the_older_loop_within_one_step(run: Run) -> None:
    async def test(client: Editor) -> None:
        before = await client.stats()
        client.open("file:///a.py", SOURCE)
        older = client.ask("file:///a.py", 0, 8)
        await wait_for_first_draft(client)
        newer = client.ask("file:///a.py", 2, 9, token="newer")
        assert [item.insert_text for item in (await asyncio.wait_for(newer, PATIENCE_S)).items] == [VALUE]
        assert await asyncio.wait_for(older, PATIENCE_S) is None
        stop = await stopped_loop(client)
        assert stop.ended - stop.told <= 1
        stats = await client.stats()
        assert stats.superseded == before.superseded + 1
        assert stats.forwardPasses == stop.ended + 3

    run(test, goes_on("first = "), sharpens("second = ", VALUE))


def test_closing_a_document_stops_its_loop_within_one_step(run: Run) -> None:
    async def test(client: Editor) -> None:
        client.open("file:///closed.py", SOURCE)
        answer = client.ask("file:///closed.py", 0, 8)
        await wait_for_first_draft(client)
        client.close("file:///closed.py")
        assert await asyncio.wait_for(answer, PATIENCE_S) is None
        stop = await stopped_loop(client)
        assert stop.ended - stop.told <= 1
        assert (await client.stats()).forwardPasses == stop.ended

    run(test, goes_on("first = "))
