// The explorer in a real browser: node walk.mjs ADDRESS PROGRAM STORE [PICTURES]
//
// Every kind of page, of runs of texts and of images, is opened over the store that PROGRAM explores at ADDRESS: without an error in the console, without a
// request that leaves the host, without a link that leads nowhere, without a serious finding of axe, no wider than a phone, by
// the keyboard alone, without scripts, in light and dark. The rows behind each page are what PROGRAM answers to the SQL that
// stands beside them. With PICTURES, a folder, screenshots go there.

import assert from "node:assert/strict";
import { accessible, address, browser, open, origin, pictures, sql, visit } from "./support.mjs";

const WIDTHS = [360, 768, 1440];
const SCHEMES = ["light", "dark"];
/** Pages of one kind that are looked at closely; links of all pages are followed. */
const EACH = 2;
/** Pages that are opened at most: what is behind them is alike. */
const MOST = 150;
/** Links that are followed at the same time. */
const SIDE_BY_SIDE = 8;

/** An address with what differs from page to page of one kind left out. */
function kind(url) {
    const { pathname, search } = new URL(url);
    const names = [...new URLSearchParams(search).keys()].sort().join(",");
    // Pages of a run of images are kinds of their own.
    const place = pathname.replace(/^\/runs\/[^/]+/, (run) => (run === "/runs/digits" ? "/runs/IMAGES" : "/runs/RUN"));
    return place.replace(/\/saes\/[^/]+/, "/saes/SAE").replace(/\d+/g, "N") + (names && `?${names}`);
}

/** Numbers to six digits, since a page and the shell may write the last one otherwise; of places their last name, since a
 * reader of pages is not told where files are. */
function rounded(value) {
    if (typeof value === "string" && value.startsWith("/")) return value.split("/").pop();
    if (typeof value === "number") return Number(value.toPrecision(6));
    if (Array.isArray(value)) return value.map(rounded);
    if (value && typeof value === "object") {
        return Object.fromEntries(Object.entries(value).filter(([, v]) => v !== null).map(([k, v]) => [k, rounded(v)]));
    }
    return value;
}

/** The same-origin pages that a page links to. */
async function links(page) {
    const found = await page.$$eval("a[href]", (anchors) => anchors.map((anchor) => new URL(anchor.getAttribute("href"), location.href).href));
    return found.map((href) => href.split("#")[0]).filter((href) => new URL(href).origin === origin);
}

/** Whatever answers to a click is reached by Tab, one after the other. */
async function reached(page, where) {
    await page.evaluate(() => document.body.focus());
    const wanted = await page.$$eval(
        "a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex='0']",
        (all) => all.filter((e) => e.checkVisibility({ visibilityProperty: true }) && !e.disabled && e.tabIndex >= 0).length,
    );
    const stops = new Set();
    for (let i = 0; i < wanted + 20 && stops.size < wanted; i++) {
        await page.keyboard.press("Tab");
        const stop = await page.evaluate(() => {
            const all = [...document.querySelectorAll("*")];
            return document.activeElement === document.body ? -1 : all.indexOf(document.activeElement);
        });
        if (stop >= 0) stops.add(stop);
    }
    // Radio buttons of one name are one stop.
    assert.ok(stops.size >= wanted * 0.95, `${where}: ${wanted} stops of the keyboard are required, got ${stops.size}`);
}

/** The rows behind the page's panels are those of the SQL beside them. */
async function sameRows(page, where) {
    const panels = await page.$$eval("details.sql", (all) =>
        all.map((panel) => ({
            run: panel.querySelector(".code p code")?.textContent ?? null,
            statement: panel.querySelector("pre").textContent,
            json: [...panel.querySelectorAll("a")].find((a) => a.textContent === "JSON").href,
        })),
    );
    for (const { run, statement, json } of panels) {
        const answer = await page.request.get(json);
        assert.equal(answer.status(), 200, json);
        assert.deepEqual(rounded(await answer.json()), rounded(sql(run, statement)), `${where}: ${statement}`);
    }
    return panels.length;
}

/** A page at a width in a scheme, with its picture where those are asked for. */
async function narrowed(url, of, width, colorScheme) {
    const narrow = await open({ viewport: { width, height: 800 }, colorScheme });
    await visit(narrow.page, url);
    const wide = await narrow.page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    assert.ok(wide <= 0, `${url} at ${width} px: no sideways scrolling is required, got ${wide} px`);
    if (colorScheme === "dark") await accessible(narrow.page, `${url}, dark, ${width} px`);
    if (pictures && width > 320) {
        const name = of.replace(/[^A-Za-z]+/g, "-").replace(/^-|-$/g, "") || "start";
        await narrow.page.screenshot({ path: `${pictures}/${name}-${width}-${colorScheme}.png`, fullPage: true });
    }
    assert.deepEqual(narrow.said, [], `${url} at ${width} px`);
    await narrow.close();
}

/** A page without scripts says something. */
async function withoutScripts(url) {
    const still = await open({ javaScriptEnabled: false });
    await visit(still.page, url);
    const text = await still.page.locator("main").innerText();
    assert.ok(text.length > 40, `${url} without scripts: text is required, got '${text}'`);
    await still.close();
}

const { page, said, close } = await open();
// The link to logit effects is gone when they have come; what a form asks for, no link leads to.
const unlinked = [
    "demo/layers/3/neurons/417/logits",
    "digits/layers/0/neurons/2/logits",
    "digits/saes/plain?measure=yes",
    "digits/compare?a=plain&b=ne",
    "digits/compare?a=plain&b=ne&measure=yes",
];
const waiting = [address, ...unlinked.map((page) => `${origin}/runs/${page}`)];
const seen = new Map(waiting.map((url) => [url, url]));
const kinds = new Map();
const followed = [];
let [opened, panels] = [0, 0];
while (waiting.length > 0 && opened < MOST) {
    const url = waiting.shift();
    const of = kind(url);
    const before = kinds.get(of) ?? 0;
    const isData = /\.(json|arrow|svg)$/.test(new URL(url).pathname);
    if (isData || before >= EACH) {
        followed.push(url);
        continue;
    }
    kinds.set(of, before + 1);
    opened++;
    await visit(page, url);
    assert.deepEqual(said.splice(0), [], url);
    for (const link of await links(page)) {
        if (!seen.has(link) && (seen.size < 2000)) {
            seen.set(link, url);
            waiting.push(link);
        }
    }
    await accessible(page, url);
    await reached(page, url);
    panels += await sameRows(page, url);
    assert.equal((await page.locator("h1").count()), 1, `${url}: one h1`);
    const weight = (await (await page.request.get(url)).body()).length;
    assert.ok(weight < 300_000, `${url}: less than 300 KB are required, got ${weight}`);
    if (before > 0) continue;
    // The first of its kind: every width and scheme, and without scripts.
    const sights = [320, ...WIDTHS].flatMap((width) => SCHEMES.map((scheme) => narrowed(url, of, width, scheme)));
    await Promise.all([...sights, withoutScripts(url)]);
}
// They lead somewhere; they are not looked at.
for (let first = 0; first < followed.length; first += SIDE_BY_SIDE) {
    const some = followed.slice(first, first + SIDE_BY_SIDE).map(async (url) => {
        const answer = await page.request.get(url, { maxRedirects: 5 });
        assert.ok(answer.ok(), `${url}, linked from ${seen.get(url)}: ${answer.status()}`);
    });
    await Promise.all(some);
}
// What is no longer linked would not be looked at.
const neuron = "/layers/N/neurons/N";
const required = [
    "", "/layers/N", neuron, `${neuron}/clusters/N/similar?threshold`, "/documents/N?layer,neuron", "/search", "/search?word", "/explain", "/saes",
    "/saes/SAE", "/saes/SAE?measure", "/compare?a,b", "/compare?a,b,measure", "/sql",
];
for (const place of required) assert.ok(kinds.has(`/runs/IMAGES${place}`), `a page of the kind /runs/IMAGES${place} is required`);
await close();
await browser.close();
console.log(`ok ${kinds.size} kinds of pages, ${opened} opened, ${followed.length} links followed, ${panels} panels with the rows of their SQL`);
for (const of of kinds.keys()) console.log(`   ${of}`);
