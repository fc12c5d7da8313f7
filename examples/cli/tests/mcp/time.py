"""How long from a start to an answer, median of 20: time.py PROGRAM [CONFIG_DIR]

Of `claudemesh --version`, and of the first tool call to a new `claudemesh mcp`: without a mesh, or in the
one of CONFIG_DIR, whose broker is to be there.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time

program = sys.argv[1]
folder = sys.argv[2] if len(sys.argv) > 2 else tempfile.mkdtemp()
hello = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "time", "version": "1"}}


def tool(name):
    start = time.perf_counter()
    server = subprocess.Popen(
        [program, "mcp"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={"CLAUDEMESH_CONFIG_DIR": folder}
    )

    def write(message):
        server.stdin.write((json.dumps({"jsonrpc": "2.0", **message}) + "\n").encode())
        server.stdin.flush()

    write({"id": 1, "method": "initialize", "params": hello})
    server.stdout.readline()
    write({"method": "notifications/initialized"})
    write({"id": 2, "method": "tools/call", "params": {"name": name, "arguments": {}}})
    answer = json.loads(server.stdout.readline())
    took = time.perf_counter() - start
    assert answer["id"] == 2 and (len(sys.argv) < 3 or not answer["result"].get("isError")), answer
    server.stdin.close()
    server.wait()
    return took * 1000


def version():
    start = time.perf_counter()
    subprocess.run([program, "--version"], stdout=subprocess.DEVNULL, check=True)
    return (time.perf_counter() - start) * 1000


for what, run in [
    ("--version", version),
    ("mesh_info", lambda: tool("mesh_info")),
    ("check_messages", lambda: tool("check_messages")),
]:
    times = sorted(run() for _ in range(20))
    print(f"{what}: {statistics.median(times):.1f} ms ({times[0]:.1f} to {times[-1]:.1f})")
