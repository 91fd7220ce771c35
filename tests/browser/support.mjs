// A real browser over the store that PROGRAM explores at ADDRESS, for the tests beside this file.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

export const [address, program, store, pictures] = process.argv.slice(2);
assert.ok(store, "usage: node TEST ADDRESS PROGRAM STORE [PICTURES]");
export const origin = new URL(address).origin;

/** What SQL answers, a row an object. */
export function sql(run, statement) {
    const words = ["--store", store, ...(run ? ["--run", run] : []), "--quiet", "--format", "json", "-c", statement];
    return JSON.parse(execFileSync(program, words, { maxBuffer: 1 << 28, encoding: "utf8" }));
}

/** Chromium, which now and then dies as it starts, before it has seen a page: it is started again, twice at most. */
async function launch(again = 2) {
    try {
        return await chromium.launch({
            executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
            args: ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"],
        });
    } catch (error) {
        if (again === 0) throw error;
        console.error(`Chromium did not start and is started again: ${error.message}`);
        return launch(again - 1);
    }
}
export const browser = await launch();

/** A page of the browser that fails the test where it complains or asks somebody else. */
export async function open(options = {}) {
    const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, reducedMotion: "reduce", bypassCSP: false, ...options });
    const page = await context.newPage();
    const said = [];
    page.on("console", (message) => said.push(`console: ${message.text()}`));
    page.on("pageerror", (error) => said.push(`error: ${error.message}`));
    page.on("dialog", async (dialog) => {
        said.push(`dialog: ${dialog.message()}`);
        await dialog.dismiss();
    });
    page.on("request", (request) => {
        const url = new URL(request.url());
        if (url.origin !== origin && url.protocol !== "data:" && url.protocol !== "blob:") said.push(`foreign request: ${url}`);
    });
    return { page, said, close: () => context.close() };
}

/** Goes to an address; where a page says that it is still computed, until it is whole. */
export async function visit(page, url) {
    for (;;) {
        const answer = await page.goto(url, { waitUntil: "load" }).catch((error) => {
            // A page that is still computed has asked again by itself meanwhile.
            if (!/ERR_ABORTED|interrupted by another navigation/.test(error.message)) throw error;
        });
        if (!answer) continue;
        assert.equal(answer.status(), 200, `${url}: ${answer.status()}`);
        if ((await page.locator("meta[http-equiv=refresh]").count()) === 0) return answer;
        await page.waitForTimeout(500);
    }
}

/** No serious finding of axe, which is asked with these options of its own. */
export async function accessible(page, where, options = {}) {
    // It is not the page's script, so the policy of the page is not asked.
    const session = await page.context().newCDPSession(page);
    await session.send("Runtime.evaluate", { expression: AXE });
    const asked = JSON.stringify({ resultTypes: ["violations"], ...options });
    const { result } = await session.send("Runtime.evaluate", {
        expression: `axe.run(document, ${asked}).then(r => JSON.stringify(r.violations))`,
        awaitPromise: true,
        returnByValue: true,
    });
    const serious = JSON.parse(result.value).filter(({ impact }) => impact === "serious" || impact === "critical");
    const told = serious.map(({ id, help, nodes }) => `${id}: ${help}: ${nodes.slice(0, 3).map((n) => n.html).join(" | ")}`);
    assert.deepEqual(told, [], `${where}: axe`);
}
