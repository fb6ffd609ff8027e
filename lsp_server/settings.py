"""Settings that change while the server runs: pushed with `workspace/didChangeConfiguration`, or pulled.

Rule: a section `mezzotint` says what differs from `initializationOptions`; what it leaves out is as those said. A bad
value is reported, and the value before it stays. The handler is a shell around `Session.reconfigure`.

    section_of({"mezzotint": {"comments": "on"}})    # {"comments": "on"}
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, NamedTuple

from lsprotocol import types

from lsp_server import logs

if TYPE_CHECKING:
    from lsp_server.server import Server

logger = logging.getLogger(__name__)

SECTION = "mezzotint"


class Ways(NamedTuple):
    """What a client can: answer `workspace/configuration`, and register `didChangeConfiguration`."""

    pull: bool = False
    register: bool = False


def ways_of(capabilities: Any) -> Ways:
    """Return what a client says it can, of its raw capabilities."""
    workspace = capabilities.get("workspace") if isinstance(capabilities, dict) else None
    workspace = workspace if isinstance(workspace, dict) else {}
    change = workspace.get("didChangeConfiguration")
    register = isinstance(change, dict) and change.get("dynamicRegistration") is True
    return Ways(workspace.get("configuration") is True, register)


def section_of(settings: Any) -> Any:
    """Return our section of what a client pushed, None where it says nothing of us."""
    return settings.get(SECTION) if isinstance(settings, dict) else None


async def register(ls: Server) -> None:
    """Ask to be told of changes, where the client wants to be asked."""
    if not ls.protocol.ways.register:
        return
    registration = types.Registration(id="mezzotint/settings", method=types.WORKSPACE_DID_CHANGE_CONFIGURATION)
    try:
        await ls.client_register_capability_async(types.RegistrationParams(registrations=[registration]))
    except Exception as error:  # a client may refuse: then it tells of changes by itself, or not at all
        logger.info("the client registers nothing: %s", error)


async def did_change(ls: Server, params: types.DidChangeConfigurationParams) -> None:
    """Take changed settings; a client that sends none with the message is asked for them."""
    section = section_of(params.settings)
    if section is None and ls.protocol.ways.pull:
        section = await pulled(ls)
    if section is not None:
        ls.session.reconfigure(section)
        logs.set_level(ls.log_level or ls.session.options.log_level)


async def pulled(ls: Server) -> Any:
    """Return the section that the client answers with, None where it has none."""
    items = [types.ConfigurationItem(section=SECTION)]
    try:
        answer = await ls.workspace_configuration_async(types.ConfigurationParams(items=items))
    except Exception as error:
        logger.warning("the client does not say its settings: %s", error)
        return None
    return answer[0] if answer else None
