// Every tool through the first generation of the TypeScript client, which most hosts have inside.

import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";

import { callEach, command, print } from "./calls.mjs";

const client = new Client({ name: "first-client", version: "1.0.0" });
await client.connect(new StdioClientTransport(command));
print(await callEach(client, (call, options) => client.callTool(call, undefined, options)));
await client.close();
