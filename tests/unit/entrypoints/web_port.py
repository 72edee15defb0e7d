"""The port of agent and controller for metrics and probes, opened as they open it."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from azure_cni.entrypoints import web
from azure_cni.entrypoints.listener import Bounds
from azure_cni.entrypoints.metrics_auth import MetricsAuth
from azure_cni.entrypoints.web import Bind, Shown, WebSettings
from azure_cni.faults import Faults
from fakes.waiting import PATIENCE_S, background, until
from simulation.ports import free_ports

OUTSIDE = "127.0.0.2"
"""Stands for the node's address."""


@contextlib.asynccontextmanager
async def open_port(
    monkeypatch: pytest.MonkeyPatch,
    shown: Shown,
    *,
    bounds: Mapping[str, float],
    bind: Bind = Bind.NODE,
    auth: MetricsAuth | None = None,
    faults: Faults | None = None,
    **settings: Any,
) -> AsyncIterator[int]:
    """Serve with these bounds for strangers; yields the port's number."""
    quick = replace(Bounds(), **{"pause_s": 0.0, **bounds})  # type: ignore[arg-type]
    monkeypatch.setattr(web, "Bounds", lambda: quick)
    (port,) = free_ports(1, addresses=(web.LOOPBACK, OUTSIDE))
    opened = WebSettings(port=port, bind=bind, node_address=OUTSIDE, **settings)
    bound = [web.LOOPBACK, *([OUTSIDE] if bind is Bind.NODE else [])]
    async with background(web.serve(opened, shown, faults=faults or Faults(lambda _: None), auth=auth)):
        await until(lambda: all(listens(address, port) for address in bound), within_s=PATIENCE_S, say=lambda: port)
        yield port


def listens(address: str, port: int) -> bool:
    """Whether somebody does, by the kernel's table: a connection would take a place."""
    (number,) = struct.unpack("=I", socket.inet_aton(address))  # proc(5): as the machine has it in memory
    entry = f" {number:08X}:{port:04X} 00000000:0000 0A "
    return entry in Path("/proc/net/tcp").read_text(encoding="ascii")
