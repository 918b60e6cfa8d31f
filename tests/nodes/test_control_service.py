"""What a control call answers when something goes wrong inside the worker."""

import asyncio
from pathlib import Path
from typing import Any

import msgpack

from nodes.control_service import ControlService
from nodes.host import Host, HostSettings


def test_an_error_that_nobody_foresaw_is_answered_and_logged_with_where_it_arose(tmp_path: Path) -> None:
    async def ask() -> tuple[Any, list[dict[str, Any]]]:
        host = Host(HostSettings(node="edge", state=tmp_path))

        async def fail() -> dict[str, Any]:
            return {"gone": ""[1]}

        answer = msgpack.unpackb(await ControlService(host)._answer(fail))
        return answer, host.log.read()

    answer, lines = asyncio.run(ask())
    assert answer["error"]["message"].endswith("IndexError: string index out of range")
    assert lines[-1]["level"] == "error" and "in fail" in lines[-1]["message"]
