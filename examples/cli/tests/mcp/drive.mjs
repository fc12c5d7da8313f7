// The clients of npm drive `claudemesh mcp`: drive.mjs MODE PROGRAM TEXT ANSWER
//
// MODE is `sdk` for the package of 2025, else what its successor calls so.

import assert from "node:assert";

const [mode, program, text, answer] = process.argv.slice(2);
const channel = Boolean(process.env.CHANNEL);
const who = { name: "node", version: "1" };
let client, transport;
const server = {
  command: program,
  args: channel ? ["mcp", "--channel", "--welcome-after", "10ms"] : ["mcp"],
  env: process.env,
};
if (mode === "sdk") {
  const { Client } = await import("@modelcontextprotocol/sdk/client/index.js");
  const { StdioClientTransport } = await import("@modelcontextprotocol/sdk/client/stdio.js");
  client = new Client(who);
  transport = new StdioClientTransport(server);
} else {
  const { Client } = await import("@modelcontextprotocol/client");
  const { StdioClientTransport } = await import("@modelcontextprotocol/client/stdio");
  const pinned = mode === "legacy" || mode === "auto" ? mode : { pin: mode };
  client = new Client(who, { versionNegotiation: { mode: pinned } });
  transport = new StdioClientTransport(server);
}
await client.connect(transport);
const protocol = client.getNegotiatedProtocolVersion?.() ?? transport._protocolVersion ?? "2025";
if (mode !== "sdk") {
  assert.equal(protocol >= "2026-07-28", mode !== "legacy" && !channel, protocol);
}
assert.equal(client.getServerVersion().name, "claudemesh");
assert.ok(client.getInstructions());

const call = async (name, args) => {
  const result = await client.callTool({ name, arguments: args });
  assert.ok(result.structuredContent && result.content[0].text);
  return [result.isError ?? false, result.structuredContent];
};
const { tools } = await client.listTools();
assert.equal(tools.length, 14);
let [error, found] = await call("send_message", { to: "nobody", message: "x" });
assert.ok(error && found.error.code === "not_found", JSON.stringify(found));
[error, found] = await call("send_message", { to: "bob", message: text });
assert.ok(["accepted", "delivered"].includes(found.sent[0].state), JSON.stringify(found));
const bodies = [];
for (let n = 0; n < 100 && !bodies.includes(answer); n++) {
  [error, found] = await call("check_messages", {});
  bodies.push(...found.messages.map((message) => message.body));
}
assert.equal(bodies.filter((body) => body === answer).length, 1, JSON.stringify(bodies));
console.log(`node ${mode}${channel ? ", channel" : ""}: ${protocol}`);
await client.close();
