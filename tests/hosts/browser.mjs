// Start a headless browser: the Chromium that BROWSER names, or else the one of a package.
//
// The package's own options are left out: they run pages inside the browser's process, where some crash.

import { chromium } from "playwright-core";

export async function launchBrowser() {
  return chromium.launch({
    executablePath: process.env.BROWSER ?? (await (await import("@sparticuz/chromium")).default.executablePath()),
    args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--use-gl=swiftshader"],
  });
}
