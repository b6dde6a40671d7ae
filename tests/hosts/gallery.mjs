// A host with MCP Apps: shows our gallery in a sandboxed frame of a headless browser, with our real server behind it.
//
// `node gallery.mjs FOLDER COMMAND...` prints what was seen, and saves pictures of it in the folder. BROWSER names a
// Chromium; without it the one of a package is taken.

import { mkdir } from "node:fs/promises";
import { join } from "node:path";

import { Client } from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";

import { launchBrowser } from "./browser.mjs";

const [folder, command, ...args] = process.argv.slice(2);
await mkdir(folder, { recursive: true });
const DEADLINE = 60_000;

/* The server ------------------------------------------------------------------------------------------------------ */

const extensions = { "io.modelcontextprotocol/ui": { mimeTypes: ["text/html;profile=mcp-app"] } };
const client = new Client(
  { name: "gallery-host", version: "1.0.0" },
  { versionNegotiation: { mode: "auto" }, capabilities: { extensions } },
);
await client.connect(new StdioClientTransport({ command, args, stderr: "inherit" }));
const { tools } = await client.listTools();
const uris = Object.fromEntries(tools.map((tool) => [tool.name, tool._meta?.ui?.resourceUri ?? null]));
const { contents } = await client.readResource({ uri: uris.batch_generate });
const listed = (await client.listResources()).resources.find((resource) => resource.uri === uris.batch_generate);
const html = contents[0].text;

const PROMPTS = [
  "a lighthouse on a cliff in a storm, seen from the sea",
  "a red fox in the snow",
  "<img src=https://outside.test/a.png onerror=alert(1)> written as text",
  "a market at night, lanterns over wet stones, people with umbrellas, a cat under a table",
  "two boats",
  "a hill at dawn",
];
const result = await client.callTool({
  name: "batch_generate",
  arguments: { prompts: PROMPTS, width: 384, height: 256, seeds: [1, 2, 3, 4, 5, 6] },
});

/* The browser ----------------------------------------------------------------------------------------------------- */

const browser = await launchBrowser();

// What the specification has a host send along with a page that asks for no domain.
const POLICY = [
  "default-src 'none'",
  "script-src 'self' 'unsafe-inline'",
  "style-src 'self' 'unsafe-inline'",
  "img-src 'self' data:",
  "media-src 'self' data:",
  "connect-src 'none'",
].join("; ");

const HOST = `<!doctype html><meta charset="utf-8"><style>body { margin: 0 } iframe { width: 100%; border: 0 }</style>
<iframe id="app" title="The app" sandbox="allow-scripts" allow="clipboard-write" src="https://app.test/"></iframe>
<script>
  const frame = document.getElementById("app");
  const send = (message) => frame.contentWindow.postMessage({ jsonrpc: "2.0", ...message }, "*");
  addEventListener("message", async ({ data, source }) => {
    if (source !== frame.contentWindow) return;
    await record(data);
    if (data.method === "ui/notifications/size-changed") frame.style.height = data.params.height + "px";
    if (data.id === undefined || data.method === undefined) return;
    const answer = await serve(data.method, data.params);
    send({ id: data.id, ...answer });
  });
</script>`;

/** A window of a host that has some capabilities. */
async function open({ capabilities, theme, width = 860, height = 640 }) {
  const context = await browser.newContext({ viewport: { width, height } });
  await context.grantPermissions(["clipboard-read", "clipboard-write"]);
  const page = await context.newPage();
  page.setDefaultTimeout(DEADLINE);
  const seen = { messages: [], outside: [], complaints: [] };
  page.on("console", (message) => message.type() === "error" && seen.complaints.push(message.text()));
  page.on("pageerror", (error) => seen.complaints.push(String(error)));
  page.on("dialog", (dialog) => {
    seen.complaints.push(`a dialog: ${dialog.message()}`);
    dialog.dismiss();
  });
  await page.route("**/*", async (route) => {
    const { hostname } = new URL(route.request().url());
    const headers = { "content-security-policy": POLICY };
    if (hostname === "host.test") await route.fulfill({ contentType: "text/html", body: HOST });
    else if (hostname === "app.test" && route.request().isNavigationRequest())
      await route.fulfill({ contentType: "text/html", body: html, headers });
    else {
      seen.outside.push(route.request().url());
      await route.abort();
    }
  });
  await page.exposeFunction("record", (message) => seen.messages.push(message));
  await page.exposeFunction("serve", async (method, params) => {
    const own = {
      "ui/initialize": () => ({
        protocolVersion: "2026-01-26",
        hostInfo: { name: "gallery-host", version: "1.0.0" },
        hostCapabilities: capabilities,
        hostContext: { theme, displayMode: "inline" },
      }),
      "ui/message": () => ({}),
      "ui/update-model-context": () => ({}),
      "tools/call": () => client.callTool(params),
      "resources/read": () => client.readResource(params),
    };
    try {
      return { result: await own[method]() };
    } catch (error) {
      return { error: { code: -32603, message: error.message } };
    }
  });
  await page.goto("https://host.test/");
  const app = page.frameLocator("#app");
  const heard = (method) =>
    until(() => seen.messages.find((message) => message.method === method), `the app says ${method}`);
  await heard("ui/notifications/initialized");
  const tell = (method, params) =>
    page.evaluate(([name, value]) => send({ method: name, params: value }), [method, params]);
  const shot = async (name) => page.screenshot({ path: join(folder, `${name}.png`), fullPage: true });
  return { page, app, seen, tell, heard, shot, context };
}

async function until(check, what) {
  const end = Date.now() + DEADLINE;
  for (;;) {
    const found = await check();
    if (found) return found;
    if (Date.now() > end) throw new Error(`It did not happen that ${what}.`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

const allLoaded = (app, count) =>
  until(async () => {
    const widths = await app.locator("#grid img").evaluateAll((images) => images.map((image) => image.naturalWidth));
    return widths.length === count && widths.every((width) => width > 0);
  }, `${count} pictures are shown`);

const focused = (app) =>
  app.locator("body").evaluate(() => document.activeElement.getAttribute("aria-label") ?? document.activeElement.id);

const FULL = { message: { text: {} }, updateModelContext: { text: {} }, serverTools: {}, serverResources: {} };
const told = { uris, mimeType: contents[0].mimeType, meta: contents[0]._meta ?? listed?._meta ?? null, html };

/* By keyboard, in a host that can do everything -------------------------------------------------------------------- */

{
  const { page, app, seen, tell, shot, heard, context } = await open({ capabilities: FULL, theme: "light" });
  await tell("ui/notifications/tool-input", { arguments: { prompts: PROMPTS } });
  await until(async () => (await app.locator("#status").textContent()).startsWith("Generating 6 images"), "six are announced");
  await shot("waiting");
  await tell("ui/notifications/tool-result", result);
  await allLoaded(app, 6);
  told.status = await app.locator("#status").textContent();
  told.captions = await app.locator("#grid .caption").allTextContents();
  await shot("grid");

  await page.keyboard.press("Tab");
  told.first = await focused(app);
  await page.keyboard.press("ArrowRight");
  told.second = await focused(app);
  await page.keyboard.press("ArrowDown");
  told.below = await focused(app);
  await page.keyboard.press("End");
  told.last = await focused(app);
  await page.keyboard.press("Home");
  await page.keyboard.press("ArrowRight");
  await page.keyboard.press("Space");
  await heard("ui/update-model-context");
  told.pickedByKey = await app.locator(".tile.picked .caption").allTextContents();
  told.dialogAfterSpace = await app.locator("#viewer").evaluate((viewer) => viewer.open);
  await shot("picked");

  await page.keyboard.press("Enter");
  await until(() => app.locator("#large").evaluate((image) => image.naturalWidth >= 384), "it is enlarged");
  told.enlarged = await app.locator("#viewer-title").textContent();
  told.facts = await app.locator("#viewer-facts").evaluate((list) =>
    Object.fromEntries([...list.querySelectorAll("dt")].map((dt) => [dt.textContent, dt.nextSibling.textContent])),
  );
  await shot("enlarged");
  await page.keyboard.press("ArrowRight");
  told.turned = await app.locator("#viewer-title").textContent();
  await page.keyboard.press("c");
  await until(async () => (await app.locator("#toast").textContent()) === "Parameters copied", "they are copied");
  told.copied = await page.evaluate(() => navigator.clipboard.readText());
  await shot("copied");
  await page.keyboard.press("m");
  told.asked = (await heard("ui/message")).params.content[0].text;
  await page.keyboard.press("Escape");
  await until(() => app.locator("body.viewing").count().then((open) => open === 0), "it is closed");
  told.back = await focused(app);

  await tell("ui/notifications/host-context-changed", { theme: "dark" });
  await shot("dark");
  await page.keyboard.press("Enter");
  await until(() => app.locator("#large").evaluate((image) => image.naturalWidth >= 384), "it is enlarged again");
  await shot("dark-enlarged");
  told.full = seen;
  await context.close();
}

/* With a finger, in a narrow host that passes no messages on ------------------------------------------------------- */

{
  const capabilities = { serverTools: {}, serverResources: {} };
  const { app, seen, tell, shot, context } = await open({ capabilities, theme: "light", width: 360, height: 700 });
  await tell("ui/notifications/tool-result", result);
  await allLoaded(app, 6);
  await app.locator(".pick").nth(1).click();
  await shot("narrow");
  await app.locator("#bar-more").click();
  await allLoaded(app, 10);
  told.grown = await app.locator("#grid .caption").allTextContents();
  await app.locator(".open").nth(0).click();
  await until(() => app.locator("#large").evaluate((image) => image.naturalWidth >= 384), "it is enlarged");
  await shot("narrow-enlarged");
  told.narrow = seen;
  await context.close();
}

/* A batch that is not whole, and a result that is an error --------------------------------------------------------- */

{
  const { app, seen, tell, shot, context } = await open({ capabilities: { serverResources: {} }, theme: "light" });
  const { structuredContent } = result;
  const results = structuredContent.results.map((each, index) => {
    if (index === 1) return { ...each, status: "failed", uri: null, file_path: null, error: "The server ran out of memory." };
    if (index > 3) return { ...each, status: "waiting", uri: null, file_path: null };
    return each;
  });
  const content = { ...structuredContent, status: "running", results };
  await tell("ui/notifications/tool-result", { content: [], structuredContent: content });
  await allLoaded(app, 3);
  told.runningStatus = await app.locator("#status").textContent();
  told.places = await app.locator("#grid .why").allTextContents();
  await shot("running");
  await tell("ui/notifications/tool-result", { content: [{ type: "text", text: JSON.stringify(structuredContent) }] });
  await allLoaded(app, 6);
  told.fromText = await app.locator("#status").textContent();
  told.partial = seen;
  await context.close();
}

/* A batch that runs while its page is open: the page asks how far it is -------------------------------------------- */

{
  const capabilities = { serverTools: {}, serverResources: {} };
  const { app, seen, tell, context } = await open({ capabilities, theme: "light" });
  const results = result.structuredContent.results.map((each) => ({ ...each, status: "waiting", uri: null, file_path: null }));
  await tell("ui/notifications/tool-result", {
    content: [],
    structuredContent: { ...result.structuredContent, status: "running", results },
  });
  await allLoaded(app, 6);
  told.followed = await app.locator("#status").textContent();
  told.running = seen;
  await context.close();
}

await browser.close();
await client.close();
process.stdout.write(JSON.stringify(told));
