// A person who keeps, rejects, rates and tags images on a folder's served page, in a headless browser.
//
// `node served_page.mjs URL SHOTS` prints what was seen, and saves screenshots in SHOTS. BROWSER names a Chromium;
// without it, the one of a package is used.

import { mkdir } from "node:fs/promises";
import { join } from "node:path";

import { launchBrowser } from "./browser.mjs";

const [url, shots] = process.argv.slice(2);
await mkdir(shots, { recursive: true });
const browser = await launchBrowser();
const tab = await browser.newPage({ viewport: { width: 1200, height: 800 } });
const complaints = [];
tab.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
tab.on("pageerror", (error) => complaints.push(String(error)));
const count = () => tab.locator("#count").textContent();
const press = async (key) => Promise.all([tab.waitForResponse((answer) => answer.url().endsWith("/opinion")), tab.keyboard.press(key)]);
await tab.goto(url);
await tab.locator(".cell").first().waitFor();
const seen = { all: await count() };
await press("k");
await press("4");
await tab.keyboard.press("t");
await tab.keyboard.type("hero");
await press("Enter");
await tab.locator("#said").getByText("Tagged.").waitFor();
await tab.screenshot({ path: join(shots, "tagged.png") });
await tab.keyboard.press("Escape");
await tab.keyboard.press("ArrowRight");
await press("x");
await tab.locator(".cell.rejected").waitFor();
await tab.screenshot({ path: join(shots, "decided.png") });
await tab.reload();
await tab.locator(".cell.kept").waitFor();
seen.caption = await tab.locator(".cell.kept span").textContent();
seen.afterReload = await count();
await tab.locator("#rating").selectOption("4");
seen.rated = await count();
await tab.locator("#rating").selectOption("0");
await tab.locator("#choice").selectOption("rejected");
seen.rejected = await count();
await tab.locator("#grid").focus();
await press("x");
await tab.locator("#choice").selectOption("");
seen.takenBack = await count();
await browser.close();
console.log(JSON.stringify({ ...seen, complaints }));
