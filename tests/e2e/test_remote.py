"""The language server as the client of a model server: both real processes, whose engines say what scripts say."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from editor import PATIENCE_S, Editor, editor  # noqa: E402
from lsprotocol import types  # noqa: E402
from pygls.exceptions import JsonRpcException  # noqa: E402
from scripts import Script, goes_on, prefixes, sharpens  # noqa: E402
from service import Service, local, service  # noqa: E402

from diffusion.serve.users import add_user  # noqa: E402

URI = "file:///project/secret_name.py"
SOURCE = "first = \n\nsecond = \n"
HERE, THERE = "from_here(x)", "from_there(x)"
Test = Callable[[Editor, Service], Coroutine[Any, Any, None]]


@pytest.fixture
def there(tmp_path: Path) -> Script:
    """What the model server's engine says."""
    (tmp_path / "there").mkdir()
    return Script(tmp_path / "there")


def with_remote(test: Test, script: Script, there: Script, monkeypatch: pytest.MonkeyPatch, **options: Any) -> None:
    """Run a test with an editor whose server asks a model server."""

    async def run() -> None:
        with local(there.options) as served:
            monkeypatch.setenv("MEZZOTINT_REMOTE_TOKEN", served.token)
            given = {"remote": served.url, "status": True, "encodeAhead": False, "minConfidencePercent": 0, **options}
            async with editor(given, script=script) as client:
                client.open(URI, SOURCE)
                await test(client, served)

    script.says(sharpens("first = ", HERE), sharpens("second = ", HERE))
    asyncio.run(run())


async def until(what: Callable[[], Any]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not what():
        assert time.monotonic() < end
        await asyncio.sleep(0.02)


def test_drafts_and_the_item_come_from_the_model_server_and_the_status_says_so(
    script: Script, there: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(client: Editor, served: Service) -> None:
        [item] = await client.items(URI, 0, 8)
        assert item.insert_text == THERE
        assert [draft.text for draft in client.drafts] == [THERE] * len(client.drafts) and client.drafts[-1].done
        assert client.drafts[0].masked
        await until(lambda: client.statuses[-1].answeredBy == "remote")
        assert client.statuses[-1].message == "answered by 127.0.0.1"
        assert served.count("requests_total") == 1
        assert (await client.stats()).forwardPasses == 3

    there.says(sharpens("first = ", THERE))
    with_remote(test, script, there, monkeypatch)


def test_the_model_server_sees_the_text_around_the_cursor_and_no_names(
    script: Script, there: Script, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def test(client: Editor, served: Service) -> None:
        await client.items(URI, 0, 8)
        [asked] = (tmp_path / "asked").read_text().splitlines()
        assert json.loads(asked) == {"prefix": "first = ", "suffix": "\n\nsecond = \n", "path": ""}

    there.says(sharpens("first = ", THERE), asked=str(tmp_path / "asked"))
    with_remote(test, script, there, monkeypatch)


def test_of_where_the_cursor_rests_a_model_server_hears_nothing(
    script: Script, there: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted = tmp_path / "prepared"

    async def test(client: Editor, served: Service) -> None:
        await until(lambda: prefixes(noted))
        where = {"textDocument": {"uri": URI}, "position": {"line": 2, "character": 9}}
        client.protocol.notify("mezzotint/didMove", where)
        await asyncio.sleep(0.5)  # what must not come has no end
        client.open("file:///project/other.py", SOURCE)  # its beginning is sent, behind it
        await until(lambda: len(prefixes(noted)) >= 2)
        assert set(prefixes(noted)) == {""}

    there.says(sharpens("first = ", THERE), sharpens("second = ", THERE), prepared=str(noted))
    with_remote(test, script, there, monkeypatch, encodeAhead=True)


def test_cancelling_stops_the_loop_on_the_replica_within_one_pass(
    script: Script, there: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(client: Editor, served: Service) -> None:
        answer = client.ask(URI, 0, 8, id="cancelled")
        await asyncio.wait_for(client.draft_came.wait(), PATIENCE_S)
        client.cancel_request(types.CancelParams(id="cancelled"))
        with pytest.raises(JsonRpcException):
            await asyncio.wait_for(answer, PATIENCE_S)
        await until(lambda: served.count("cancelled_total") == 1)
        assert served.count("most_passes_after_cancel") <= 1
        passes = served.count("forward_passes_total")
        assert passes < 500
        [item] = await client.items(URI, 2, 9)
        assert item.insert_text == THERE and served.count("forward_passes_total") == passes + 3

    there.says(goes_on("first = "), sharpens("second = ", THERE))
    with_remote(test, script, there, monkeypatch)


def test_typing_through_a_suggestion_asks_nobody(
    script: Script, there: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(client: Editor, served: Service) -> None:
        await client.items(URI, 0, 8)
        for n in range(1, 5):
            client.change(URI, (0, 7 + n), (0, 7 + n), THERE[n - 1])
            [item] = await client.items(URI, 0, 8 + n)
            assert item.insert_text == THERE[n:]
        assert served.count("requests_total") == 1

    there.says(sharpens("first = ", THERE))
    with_remote(test, script, there, monkeypatch)


def test_this_machine_answers_without_a_message_while_the_server_is_gone_and_then_the_server_does_again(
    script: Script, there: Script, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    users = tmp_path / "users"
    monkeypatch.setenv("MEZZOTINT_REMOTE_TOKEN", add_user(users, "ada"))

    async def test() -> None:
        with local(there.options, "--users", str(users)) as served:
            port, given = served.port, {"remote": served.url, "status": True, "liveCanvas": False}
            options = {**given, "encodeAhead": False, "minConfidencePercent": 0}
            async with editor(options, script=script) as client:
                client.open(URI, SOURCE)
                assert [item.insert_text for item in await client.items(URI, 0, 8)] == [THERE]
                served.process.kill()
                served.process.wait()
                assert [item.insert_text for item in await client.items(URI, 0, 8)] == [HERE]
                await until(lambda: client.statuses[-1].reason == "remote")
                assert client.statuses[-1].kind == "Warning"
                assert client.statuses[-1].message.endswith("; the model on this machine answers")
                with service("--local", "--port", str(port), "--users", str(users), *there.options):
                    while [item.insert_text for item in await client.items(URI, 0, 8)] != [THERE]:
                        await asyncio.sleep(0.1)
                    await until(lambda: client.statuses[-1].message == "answered by 127.0.0.1")
                assert client.messages == []

    script.says(sharpens("first = ", HERE))
    there.says(sharpens("first = ", THERE))
    asyncio.run(test())


def test_a_server_that_dies_in_the_middle_shows_no_error(
    script: Script, there: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(client: Editor, served: Service) -> None:
        answer = client.ask(URI, 0, 8)
        await asyncio.wait_for(client.draft_came.wait(), PATIENCE_S)
        served.process.kill()
        items = (await asyncio.wait_for(answer, PATIENCE_S)).items
        assert [item.insert_text for item in items] == [HERE]
        assert client.messages == []

    there.says(goes_on("first = "))
    with_remote(test, script, there, monkeypatch)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"remote": "http://models.example"}, "is not encrypted: use https, or a tunnel to this machine (ssh -L)"),
        ({"remoteTokenFile": "/no/such/file"}, "remoteTokenFile /no/such/file: No such file or directory"),
    ],
)
def test_a_remote_that_cannot_be_is_one_sentence(
    script: Script, there: Script, monkeypatch: pytest.MonkeyPatch, options: dict[str, str], why: str
) -> None:
    async def test(client: Editor, served: Service) -> None:
        await until(lambda: client.messages)
        assert len(client.messages) == 1 and why in client.messages[0]

    with_remote(test, script, there, monkeypatch, **options)


def test_a_foreign_token_is_said_in_the_status_and_this_machine_answers(
    script: Script, there: Script, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def test(client: Editor, served: Service) -> None:
        assert [item.insert_text for item in await client.items(URI, 0, 8)] == [HERE]
        await until(lambda: client.statuses[-1].reason == "remote")
        assert client.statuses[-1].message.startswith("this token is nobody's")
        assert client.messages == []

    token = tmp_path / "token"
    token.touch(0o600)
    token.write_text("somebody-elses-token")
    with_remote(test, script, there, monkeypatch, remoteTokenFile=str(token))
