// Every tool through the second generation of the TypeScript client, in the era that ERA names: legacy or auto.

import { Client } from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";

import { callEach, command, print } from "./calls.mjs";

const versionNegotiation = { mode: process.env.ERA };
const client = new Client({ name: "second-client", version: "1.0.0" }, { versionNegotiation });
await client.connect(new StdioClientTransport(command));
print(await callEach(client, (call, options) => client.callTool(call, options)));
await client.close();
