// Calls the tools of a list that the server has, in its order, and prints what a client made of each result.
//
// An argument "$tool.key" is what that tool's last result has under that key.

import { readFile } from "node:fs/promises";

/** `call` takes a name with arguments, and options: the two generations of clients order these differently. */
export async function callEach(client, call) {
  const { tools } = await client.listTools();
  const calls = JSON.parse(await readFile(process.env.CALLS, "utf8"));
  const last = {};
  const filled = (value) => {
    if (Array.isArray(value)) return value.map(filled);
    if (typeof value !== "string" || !value.startsWith("$")) return value;
    const [tool, ...keys] = value.slice(1).split(".");
    return keys.reduce((found, key) => found[key], last[tool]);
  };
  const results = [];
  for (const { tool, arguments: given } of calls) {
    if (!tools.some(({ name }) => name === tool)) continue;
    const wanted = Object.fromEntries(Object.entries(given).map(([name, value]) => [name, filled(value)]));
    const progress = [];
    const options = { onprogress: (each) => progress.push(each) };
    const result = await call({ name: tool, arguments: wanted }, options);
    last[tool] = result.structuredContent ?? last[tool];
    results.push({ tool, result, progress });
  }
  return { tools: tools.map((tool) => tool.name), results };
}

/** The rest of the arguments is the command of the server. */
export const command = { command: process.argv[2], args: process.argv.slice(3), stderr: "inherit" };

export function print(value) {
  process.stdout.write(JSON.stringify(value));
}
