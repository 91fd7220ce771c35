// A published site in a real browser, from the disk: node published.mjs FOLDER PROGRAM STORE [PICTURES]
//
// FOLDER is a site of the run `demo` of STORE. Every link of every file leads to a file and a place in it; pages of each kind
// open without an error and without a request for anything else than their files; the slider, the layers' tables, the search
// and the examples that a script unpacks say what SQL says. `hostile` beside FOLDER is a site of the run of that name.

import assert from "node:assert/strict";
import { existsSync, readFileSync, readdirSync, statSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import { pathToFileURL } from "node:url";
import { accessible, address as folder, browser, open, pictures, sql } from "./support.mjs";

const THRESHOLDS = [0.05, 0.3, 0.495, 0.77, 1.1];
const KEPT = 0.5;
/** A page from the disk may not be asked for its style again. */
const FROM_DISK = { preload: false };
/** The most bytes of a file. */
const MOST = 400_000;

/** Every file below a folder. */
function files(of) {
    return readdirSync(of, { withFileTypes: true }).flatMap((entry) => {
        const path = join(of, entry.name);
        return entry.isDirectory() ? files(path) : [path];
    });
}

const root = new URL(folder).pathname;
const place = (file) => pathToFileURL(join(root, file)).href;
let links = 0;
for (const file of files(root)) {
    const { size } = statSync(file);
    assert.ok(size < MOST, `${file}: less than ${MOST} bytes are required, got ${size}`);
    if (!file.endsWith(".html")) continue;
    const html = readFileSync(file, "utf8");
    assert.doesNotMatch(html, / style=| on[a-z]+=|http:\/\/(?!www\.w3\.org)|https:/, `${file}: nothing of elsewhere`);
    for (const [, href] of html.matchAll(/ (?:href|src|action)="([^"]*)"/g)) {
        if (href.startsWith("data:")) continue;
        const [path, fragment] = href.replace(/&amp;/g, "&").replace(/\?[^#]*/, "").split("#");
        const target = path ? normalize(join(dirname(file), path)) : file;
        assert.ok(existsSync(target), `${file}: a file is required, got ${href}`);
        // What a script unpacks, and a token's place, are made when they are asked for.
        if (fragment && /^(cluster-|main)/.test(fragment)) {
            assert.ok(readFileSync(target, "utf8").includes(`id="${fragment}"`), `${file}: a place is required, got ${href}`);
        }
        links++;
    }
}

const { page, said, close } = await open();
async function visit(file) {
    await page.goto(place(file), { waitUntil: "load" });
    assert.equal(await page.locator("h1").count(), 1, file);
}
async function picture(name) {
    if (!pictures) return;
    for (const width of [360, 1440]) {
        await page.setViewportSize({ width, height: 900 });
        const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
        assert.ok(wide <= 0, `${name} at ${width} px: no sideways scrolling is required, got ${wide} px`);
        await page.screenshot({ path: `${pictures}/site-${name}-${width}.png`, fullPage: true });
    }
}

// A neuron: its examples, and its clusters wherever the tree is cut.
const neurons = sql("demo", "SELECT layer, neuron, n_examples FROM neurons WHERE n_examples > 25 ORDER BY (neuron * 7919) % 1009 LIMIT 5");
let cuts = 0;
for (const { layer, neuron, n_examples } of neurons) {
    const file = `neurons/${layer}/${neuron}.html`;
    await visit(file);
    await page.waitForFunction(() => !document.getElementById("packed"));
    const shown = async () => {
        const sections = await page.$$eval("section.cluster", (all) =>
            all.map((section) => [
                Number(section.id.slice("cluster-".length)),
                [...section.querySelectorAll("ol.examples > li")].map((row) => Number(row.id.slice("example-".length))),
            ]),
        );
        return sections.filter(([cluster]) => Number.isFinite(cluster));
    };
    const wanted = (threshold) => {
        const rows = sql("demo", `SELECT cluster, example FROM feature_clusters(${layer}, ${neuron}, {threshold: ${threshold}}) WHERE cluster IS NOT NULL ORDER BY cluster, example`);
        const clusters = new Map();
        for (const { cluster, example } of rows) clusters.set(cluster, [...(clusters.get(cluster) ?? []), example]);
        return [...clusters];
    };
    const came = await shown();
    assert.deepEqual(came, wanted(KEPT), file);
    assert.equal(came.flatMap(([, examples]) => examples).length, n_examples);
    for (const asked of [...THRESHOLDS, KEPT]) {
        await page.locator("#threshold").fill(String(asked));
        const threshold = await page.locator("#threshold").inputValue();
        const expected = wanted(threshold);
        const text = `${expected.length} feature cluster${expected.length === 1 ? "" : "s"}`;
        assert.equal(await page.locator("[data-say=clusters]").innerText(), text, `${file} at ${threshold}`);
        await page.waitForFunction((n) => document.querySelectorAll("section.cluster:not(#cluster-none)").length === n, expected.length);
        assert.deepEqual(await shown(), expected, `${file} at ${threshold}`);
        const inside = sql("demo", `SELECT cluster, mean_distance, mean_activation FROM cluster_summary(${layer}, ${neuron}, {threshold: ${threshold}}) ORDER BY cluster`);
        const told = await page.$$eval("section.cluster:not(#cluster-none) header .dim", (all) => all.map((p) => p.textContent));
        inside.forEach(({ mean_distance, mean_activation }, at) => {
            const [, activation] = /activation ([−\d.]+)/.exec(told[at]);
            assert.ok(Math.abs(Number(activation.replace("−", "-")) - mean_activation) < 0.011, `${file} at ${threshold}: '${told[at]}', ${mean_activation}`);
            const distance = /inside ([\d.]+)/.exec(told[at])?.[1];
            assert.ok(mean_distance == null ? distance === undefined : Math.abs(Number(distance) - mean_distance) < 0.0011, `${file} at ${threshold}: '${told[at]}', ${mean_distance}`);
        });
        const colours = expected.flatMap(([cluster, examples]) => examples.map((example) => [`#example-${example}`, cluster < 8 ? `c${cluster}` : "cx"]));
        const points = await page.$$eval("svg.points", (all) => all.map((svg) => [...svg.querySelectorAll("a")].map((link) => [link.getAttribute("href"), link.firstElementChild.getAttribute("class")])));
        const ordered = colours.sort(([a], [b]) => Number(a.slice(9)) - Number(b.slice(9)));
        assert.deepEqual(points, [ordered, ordered], `${file} at ${threshold}: points`);
        cuts++;
    }
    assert.deepEqual(said.splice(0), [], file);
    if (neuron === neurons[0].neuron) {
        await accessible(page, file, FROM_DISK);
        await picture("neuron");
        await page.locator("#threshold").fill("0.3");
        await page.waitForTimeout(100);
        await picture("neuron-cut-again");
        await visit(file);
        // From an example to its token in its document.
        await page.locator("ol.examples a").first().click();
        await page.waitForURL(/documents\/\d+\.html#token-\d+$/);
        assert.equal(await page.locator(".text.whole .key").count(), 1, page.url());
        await accessible(page, "a document", FROM_DISK);
        await picture("document");
    }
}

// A layer's table, sorted and filtered.
const [{ layer }] = neurons;
await visit(`layers/${layer}.html`);
await page.waitForSelector("#neurons caption");
const column = (at) => page.$$eval("#neurons tbody tr", (rows, at) => rows.map((row) => row.children[at].textContent.trim()), at);
await page.getByRole("button", { name: "Clusters" }).click();
const most = sql("demo", `SELECT neuron, n_clusters FROM neuron_polysemanticity(${layer}) ORDER BY n_clusters DESC NULLS LAST, neuron LIMIT 100`);
assert.deepEqual(await column(0), most.map(({ neuron }) => String(neuron)));
assert.deepEqual(await column(1), most.map(({ n_clusters }) => (n_clusters === null ? "–" : String(n_clusters))));
await page.getByLabel("examples, at least").fill("30");
const [{ n }] = sql("demo", `SELECT count(*) AS n FROM neuron_polysemanticity(${layer}) WHERE n_examples >= 30`);
const caption = await page.locator("#neurons caption").innerText();
assert.ok(caption.endsWith(`of ${n}`), `${n} neurons are required, got '${caption}'`);
await accessible(page, "a layer", FROM_DISK);
await picture("layer");

// A word.
const [{ token }] = sql("demo", "SELECT lower(trim(token)) AS token FROM examples WHERE trim(token) <> '' GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT 1");
await visit("index.html");
await accessible(page, "the run", FROM_DISK);
await picture("run");
await page.getByLabel("Key token").fill(` ${token.toUpperCase()} `);
await page.getByRole("button", { name: "Search" }).click();
await page.waitForSelector("#clusters-of-word caption");
const found = sql("demo", `SELECT layer, neuron, cluster, size, n_matches FROM token_search('${token.replace(/'/g, "''")}', {kind: 'all'}) ORDER BY n_matches * share DESC, size DESC, layer, neuron, cluster LIMIT 200`);
const listed = await page.$$eval("#clusters-of-word tbody tr", (rows) => rows.map((row) => [...row.children].slice(0, 4).map((cell) => cell.textContent)));
assert.deepEqual(listed, found.map(({ layer, neuron, cluster, size, n_matches }) => [`${layer} · ${neuron}`, cluster, size, n_matches].map(String)));
await accessible(page, "a search", FROM_DISK);
await picture("search");
await page.locator("#clusters-of-word tbody a").first().click();
await page.waitForURL(/neurons\/\d+\/\d+\.html#cluster-\d+$/);

// To a neuron by its numbers.
await page.locator("#go input[name=layer]").fill("0");
await page.locator("#go input[name=neuron]").fill("7");
await page.getByRole("button", { name: "Go", exact: true }).click();
await page.waitForURL(/neurons\/0\/7\.html$/);
assert.deepEqual(said.splice(0), [], "words and numbers");

// Texts stay texts, and without scripts there is something to read.
for (const file of files(join(root, "../hostile")).filter((file) => /(neurons|documents)\/.*\.html$/.test(file)).slice(0, 40)) {
    await page.goto(pathToFileURL(file).href, { waitUntil: "load" });
    await page.waitForFunction(() => !document.getElementById("packed"));
    assert.equal(await page.locator("main :is(img, iframe, script, style, object, embed)").count(), 0, file);
    assert.doesNotMatch(await page.locator("main").innerText(), /[\u202a-\u202e\u2066-\u2069]/, file);
    assert.deepEqual(said.splice(0), [], file);
}
await close();
const still = await open({ javaScriptEnabled: false });
await still.page.goto(place(`neurons/${neurons[0].layer}/${neurons[0].neuron}.html`));
assert.ok((await still.page.locator("section.cluster li").count()) > 0, "examples without scripts");
assert.deepEqual(still.said, []);
await still.close();
await browser.close();
console.log(`ok a site from the disk: ${links} links, ${cuts} cuts of ${neurons.length} neurons as SQL cuts them`);
