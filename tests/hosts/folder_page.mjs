// A person with a folder's page open from a file, in a headless browser.
//
// `node folder_page.mjs PAGE SHOTS` prints what was seen, and saves screenshots in SHOTS. BROWSER names a Chromium;
// without it, the one of a package is used.

import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

import { launchBrowser } from "./browser.mjs";

const [page, shots] = process.argv.slice(2);
await mkdir(shots, { recursive: true });
const browser = await launchBrowser();
const seen = {};
for (const [name, width, height, colorScheme] of [["light", 1200, 800, "light"], ["dark", 1200, 800, "dark"], ["phone", 390, 760, "light"]]) {
  const tab = await browser.newPage({ viewport: { width, height }, colorScheme });
  const complaints = [], outside = [];
  tab.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
  tab.on("pageerror", (error) => complaints.push(String(error)));
  tab.on("request", (request) => request.url().startsWith("file:") || outside.push(request.url()));
  const text = async (id) => (await tab.locator(id).textContent()).trim();
  const cells = () => tab.locator(".cell").count();
  await tab.goto(pathToFileURL(page).href);
  await tab.locator(".cell").first().waitFor();
  const round = { all: await text("#count"), cells: await cells() };
  await tab.screenshot({ path: join(shots, `${name}.png`) });
  await tab.keyboard.press("End");
  await tab.waitForFunction(() => document.getElementById("grid").scrollTop > 0);
  round.cellsAtEnd = await cells();
  await tab.keyboard.press("Home");
  await tab.keyboard.press("ArrowRight");
  await tab.keyboard.press("Enter");
  round.opened = await text("#prompt");
  await tab.waitForFunction(() => document.querySelector("#shown img").naturalWidth > 0);
  await tab.screenshot({ path: join(shots, `${name}-opened.png`) });
  round.command = await tab.evaluate(() => command(shown[current]));
  await tab.locator("#copy-command").click();
  await tab.waitForFunction(() => document.getElementById("said").textContent.trim());
  round.said = await text("#said");
  await tab.keyboard.press("Escape");
  await tab.keyboard.press("c");
  await tab.keyboard.press("ArrowRight");
  await tab.keyboard.press("c");
  round.compared = await tab.locator("#pair figcaption").allTextContents();
  await tab.screenshot({ path: join(shots, `${name}-compared.png`) });
  await tab.keyboard.press("Escape");
  await tab.keyboard.press("/");
  await tab.keyboard.type("number 9998");
  round.found = await text("#count");
  await tab.locator("#text").fill("");
  await tab.locator("#sort").selectOption("oldest");
  await tab.evaluate(() => new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn))));
  round.oldest = await tab.locator('.cell[aria-posinset="1"] span').textContent();
  seen[name] = { ...round, complaints, outside };
  await tab.close();
}
await browser.close();
console.log(JSON.stringify(seen));
