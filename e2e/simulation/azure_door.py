"""The fake Azure's side door: what others do to the network, and the faults that a run injects."""

from typing import Any

import aiohttp


class AzureDoor:
    """Requests to the admin socket of the fake."""

    def __init__(self, socket: str) -> None:
        self._socket = socket

    async def call(self, method: str, path: str, **fields: Any) -> Any:
        """One request. Raises RuntimeError with what the fake says."""
        connector = aiohttp.UnixConnector(path=self._socket)
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.request(method, f"http://azure{path}", json=fields) as response,
        ):
            answer = await response.json()
            if not response.ok:
                raise RuntimeError(f"{method} {path}: {answer}")
            return answer
