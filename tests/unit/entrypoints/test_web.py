"""The HTTP port for probes and metrics."""

from __future__ import annotations

import socket

import pytest
from aiohttp import web

from azure_cni.entrypoints.web import open_port
from azure_cni.errors import AzureCniError


async def test_a_port_that_something_else_has_is_named() -> None:
    runner = web.AppRunner(web.Application())
    await runner.setup()
    with socket.create_server(("0.0.0.0", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(AzureCniError, match=f"^cannot serve metrics and health on port {port}: .*already in use"):
            await open_port(runner, port)
    await open_port(runner, port)
    await runner.cleanup()
