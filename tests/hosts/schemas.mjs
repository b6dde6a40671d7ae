// The official JSON schemas of the protocol, as the conformance suite carries them: {"2025-11-25": {...}, ...}.
//
// The suite's one file is a bundle. A schema stands in it as an object literal, assigned to a name, and a table tells
// which name is which version. Nothing of the bundle is run but these literals, which hold data and nothing else.

import { readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { runInNewContext } from "node:vm";

const VERSIONS = ["2025-06-18", "2025-11-25", "2026-07-28"];
const folder = dirname(fileURLToPath(import.meta.url));
const bundle = await readFile(
  join(folder, "node_modules/@modelcontextprotocol/conformance/dist/index.js"),
  "utf8",
);

/** The object literal that begins at a position: up to the brace that closes it, outside of any string. */
function literal(start) {
  let depth = 0;
  let quote = null;
  for (let at = start; at < bundle.length; at++) {
    const character = bundle[at];
    if (quote !== null) {
      if (character === "\\") at++;
      else if (character === quote) quote = null;
    } else if (`"'\``.includes(character)) quote = character;
    else if (character === "{") depth++;
    else if (character === "}" && --depth === 0) return bundle.slice(start, at + 1);
  }
  throw new Error("An object in the conformance suite's file has no end.");
}

/** What a name is assigned, where that is an object literal of a schema. */
function schema(name) {
  const found = new RegExp(`[,; ]${name.replaceAll("$", "\\$")}=\\{\\$schema:`).exec(bundle);
  if (found === null) throw new Error(`There is no schema called ${name} in the conformance suite's file.`);
  return runInNewContext(`(${literal(bundle.indexOf("{", found.index))})`, Object.create(null));
}

const table = /const [\w$]+=(\{"2025-03-26":[^}]*\})/.exec(bundle);
if (table === null) throw new Error("The conformance suite's file has no table of schemas.");
const names = {};
for (const [, quoted, computed, name] of table[1].matchAll(/(?:"([\d-]+)"|\[([\w$]+)\]):([\w$]+)/g)) {
  const version = quoted ?? new RegExp(`[,; ]${computed}=\`([\\d-]+)\``).exec(bundle)?.[1];
  names[version] = name;
}
const schemas = Object.fromEntries(VERSIONS.map((version) => [version, schema(names[version])]));
process.stdout.write(JSON.stringify(schemas));
