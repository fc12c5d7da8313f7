"""A mesh of your own for tests: a real broker, and Rust peers to talk with.

>>> async with await TestMesh.start() as mesh:
...     config = Config.in_memory()
...     joined = await config.join(await mesh.invite(), "ana")

It runs the program ``claudemesh-test-mesh`` (``cargo install --path bindings/test-mesh``), found on
the PATH or named by ``CLAUDEMESH_TEST_MESH``.
"""

from __future__ import annotations

import asyncio
import json
import os
from asyncio.subprocess import PIPE, Process
from typing import Any, Optional


class TestMesh:
    """A broker with one mesh. Members that are named join by themselves; ``owner`` is the owner."""

    __test__ = False

    def __init__(self, process: Process) -> None:
        self._process = process
        self._turn = asyncio.Lock()
        self.broker = ""
        self.mesh_id = ""

    @classmethod
    async def start(cls) -> TestMesh:
        """Starts it."""
        program = os.environ.get("CLAUDEMESH_TEST_MESH", "claudemesh-test-mesh")
        process = await asyncio.create_subprocess_exec(program, stdin=PIPE, stdout=PIPE)
        mesh = cls(process)
        about = await mesh._answer()
        mesh.broker, mesh.mesh_id = about["broker"], about["mesh"]
        return mesh

    async def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line:
            raise RuntimeError("claudemesh-test-mesh has ended")
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer["ok"]

    async def ask(self, do: str, **fields: Any) -> Any:
        """Any command; bindings/test-mesh lists them."""
        assert self._process.stdin is not None
        async with self._turn:
            self._process.stdin.write(json.dumps({"do": do, **fields}).encode() + b"\n")
            await self._process.stdin.drain()
            return await self._answer()

    async def invite(self, uses: int = 1) -> str:
        """A link, issued by the owner."""
        return await self.ask("invite", uses=uses)

    async def send(self, sender: str, to: str, text: str) -> str:
        """A Rust peer sends; returns once the broker has it. Gives the message's id."""
        return await self.ask("send", **{"from": sender}, to=to, text=text)

    async def receive(self, name: str, seconds: int = 10) -> dict[str, Any]:
        """What a Rust peer receives next."""
        return await self.ask("receive", **{"as": name}, seconds=seconds)

    async def key(self, name: str) -> str:
        """A member's key."""
        return await self.ask("key", of=name)

    async def await_member(self, name: str, seen_by: str = "owner") -> None:
        """Waits until a Rust peer knows of a member."""
        await self.ask("await_member", **{"as": seen_by}, name=name)

    async def remove(self, name: str) -> None:
        """The owner removes a member."""
        await self.ask("remove", name=name)

    async def close(self) -> None:
        """Ends it, with everything it made."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), 10)
        except asyncio.TimeoutError:
            self._process.kill()
            await self._process.wait()

    async def __aenter__(self) -> TestMesh:
        return self

    async def __aexit__(self, *_: object) -> Optional[bool]:
        await self.close()
        return None
