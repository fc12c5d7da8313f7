"""The Python client drives `claudemesh mcp`: drive.py MODE PROGRAM TEXT ANSWER

MODE is `initialize` for the package of 2025, else what its successor calls so.
"""

import asyncio
import os
import sys
from importlib.metadata import version

from mcp import StdioServerParameters

mode, program, text, answer = sys.argv[1:]
channel = bool(os.environ.get("CHANNEL"))
arguments = ["mcp", "--channel", "--welcome-after", "10ms"] if channel else ["mcp"]
server = StdioServerParameters(command=program, args=arguments, env=dict(os.environ))


def data(result):
    """What a tool answered, in either spelling of the field's name."""
    error = getattr(result, "isError", None) or getattr(result, "is_error", None)
    found = getattr(result, "structuredContent", None) or getattr(result, "structured_content", None)
    assert found is not None and result.content[0].text, result
    return error, found


async def use(session, protocol):
    tools = {tool.name for tool in (await session.list_tools()).tools}
    assert len(tools) == 14 and "send_message" in tools, tools
    error, found = data(await session.call_tool("send_message", {"to": "nobody", "message": "x"}))
    assert error and found["error"]["code"] == "not_found", found
    error, found = data(await session.call_tool("send_message", {"to": "bob", "message": text}))
    assert not error and found["sent"][0]["state"] in ("accepted", "delivered"), found
    bodies = []
    for _ in range(100):
        error, found = data(await session.call_tool("check_messages", {}))
        bodies += [message["body"] for message in found["messages"]]
        if answer in bodies:
            break
    assert bodies.count(answer) == 1, bodies
    print(f"python mcp {version('mcp')}, {mode}{', channel' if channel else ''}: {protocol}")


async def of_2025():
    from mcp import ClientSession
    from mcp.client.stdio import stdio_client

    async with stdio_client(server) as (read, write), ClientSession(read, write) as session:
        hello = await session.initialize()
        assert hello.serverInfo.name == "claudemesh" and hello.instructions
        await use(session, hello.protocolVersion)


async def of_2026():
    from mcp import Client

    async with Client(server, mode=mode) as client:
        modern = client.protocol_version >= "2026-07-28"
        assert modern == (mode != "legacy" and not channel), client.protocol_version
        await use(client, client.protocol_version)


asyncio.run(of_2025() if mode == "initialize" else of_2026())
