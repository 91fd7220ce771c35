// The page of a neuron in a real browser: node neuron.mjs ADDRESS PROGRAM STORE
//
// The slider cuts the tree where SQL does: clusters, metrics and the colours of points at once, and the examples below it when
// it rests. Logit effects come by themselves, importance and labels by a click. What a corpus says stays text: the run `hostile` of STORE has documents that would be scripts, pictures, or turn the page around.

import assert from "node:assert/strict";
import { address, browser, open, origin, sql, visit } from "./support.mjs";

const NEURONS = 6;
const THRESHOLDS = [0, 0.05, 0.3, 0.495, 0.5, 0.77, 1.1];

const { page, said, close } = await open();
let cuts = 0;
const run = new URL(address).pathname.split("/")[2] ?? "demo";
const neurons = sql(run, `SELECT layer, neuron FROM neurons WHERE n_examples > 20 ORDER BY (neuron * 7919) % 1009 LIMIT ${NEURONS}`);
for (const { layer, neuron } of neurons) {
    const at = `${origin}/runs/${run}/layers/${layer}/neurons/${neuron}`;
    await visit(page, at);
    const effects = sql(run, `SELECT effect, side FROM logit_effects(${layer}, ${neuron}) ORDER BY side DESC, rank`);
    await page.waitForSelector("#logits table");
    const shown = await page.$$eval("#logits td.n", (cells) => cells.map((cell) => cell.textContent));
    assert.deepEqual(shown, effects.map(({ effect }) => effect.toFixed(3).replace("-", "−")), `${at}: logit effects`);
    for (const asked of THRESHOLDS) {
        const slider = page.locator("#threshold");
        await slider.fill(String(asked));
        // A slider has its own ends and steps.
        const threshold = await slider.inputValue();
        const [expected] = sql(run, `SELECT n_clusters, intra_cluster_distance AS intra, inter_cluster_distance AS inter FROM neuron_polysemanticity(${layer}, ${neuron}, {threshold: ${threshold}})`);
        const told = async (when) => {
            const where = `${at} at ${threshold}, ${when}`;
            assert.equal(await page.locator("[data-say=clusters]").innerText(), `${expected.n_clusters} feature cluster${expected.n_clusters === 1 ? "" : "s"}`, where);
            for (const metric of ["intra", "inter"]) {
                const shown = await page.locator(`[data-metric=${metric}]`).innerText();
                const value = expected[metric];
                const same = value == null ? shown === "–" : Math.abs(Number(shown) - value) < 0.00101;
                assert.ok(same, `${where}: ${metric} ${value} is required, got ${shown}`);
            }
        };
        await told("at once");
        const members = sql(run, `SELECT example, cluster FROM feature_clusters(${layer}, ${neuron}, {threshold: ${threshold}}) WHERE cluster IS NOT NULL ORDER BY example`);
        const coloured = members.map(({ example, cluster }) => [`#example-${example}`, cluster < 8 ? `c${cluster}` : "cx"]);
        const pointed = async (when) => {
            const pictures = await page.$$eval("svg.points", (all) => all.map((svg) => [...svg.querySelectorAll("a")].map((link) => [link.getAttribute("href"), link.firstElementChild.getAttribute("class")])));
            assert.deepEqual(pictures, [coloured, coloured], `${at} at ${threshold}, ${when}: points`);
        };
        await pointed("at once");
        const numbers = await page.$$eval("svg.points text", (all) => all.map((text) => [text.textContent, text.getAttribute("x"), text.getAttribute("y")].join(" ")).sort());
        const colours = new Set(await page.$$eval("rect.leaf", (all) => all.map((leaf) => leaf.getAttribute("class"))));
        assert.ok(colours.size <= Math.min(9, expected.n_clusters + 1), `${at} at ${threshold}: ${colours.size} colours`);
        await page.waitForFunction(() => !document.body.classList.contains("reading"));
        await told("from the explorer");
        await pointed("from the explorer");
        const same = await page.$$eval("svg.points text", (all) => all.map((text) => [text.textContent, text.getAttribute("x"), text.getAttribute("y")]).map((parts) => parts.join(" ")).sort());
        const places = (texts) => texts.map((text) => text.split(" ").map(Number));
        // Means of places to a tenth.
        const near = places(same).every((place, at) => place.every((x, axis) => Math.abs(x - places(numbers)[at][axis]) <= 0.11));
        assert.ok(same.length === numbers.length && near, `${at} at ${threshold}: numbers at ${numbers} are required, got ${same}`);
        const ids = await page.$$eval("section.cluster", (all) => all.map((section) => section.id).filter((id) => /\d$/.test(id)));
        const clusters = sql(run, `SELECT DISTINCT cluster FROM feature_clusters(${layer}, ${neuron}, {threshold: ${threshold}}) WHERE cluster IS NOT NULL ORDER BY cluster`);
        assert.deepEqual(ids, clusters.map(({ cluster }) => `cluster-${cluster}`), `${at} at ${threshold}: sections`);
        assert.equal(new URL(page.url()).searchParams.get("threshold"), String(Number(threshold)), "the address says the threshold");
        cuts++;
    }
    // From a point to its example.
    const link = page.locator("svg.points a").last();
    await link.click();
    assert.equal(new URL(page.url()).hash, await link.getAttribute("href"));
    assert.deepEqual(said.splice(0), [], at);
}

// The tokens of an example by their importance, and back.
{
    const [{ layer, neuron }] = neurons;
    const at = `${origin}/runs/${run}/layers/${layer}/neurons/${neuron}`;
    await visit(page, at);
    const row = page.locator("ol.examples > li:has(a[data-weigh])").nth(1);
    const example = (await row.getAttribute("id")).slice("example-".length);
    const [{ pos, window_start, n }] = sql(run, `SELECT pos, window_start, cardinality(window_tokens) AS n FROM examples WHERE layer = ${layer} AND neuron = ${neuron} AND example = ${example}`);
    const before = await row.locator(".text").innerHTML();
    await row.locator("a[data-weigh]").click();
    await row.locator(".text.importance").waitFor();
    const shades = await row.locator(".text > *").evaluateAll((tokens) => tokens.map((token) => Number(/^a(\d+)$/.exec(token.className)?.[1] ?? 0)));
    const found = sql(run, `SELECT pos, importance FROM token_importance(${layer}, ${neuron}, ${example}, {window: ${pos - window_start}}) ORDER BY pos`);
    const expected = Array.from({ length: n }, (_, i) => Math.round(11 * (found.find((line) => line.pos === window_start + i)?.importance ?? 0)));
    assert.deepEqual(shades, expected, `${at}, example ${example}`);
    await row.locator("a[data-weigh]").click();
    assert.equal(await row.locator(".text").innerHTML(), before);
    assert.deepEqual(said.splice(0), [], `${at}: importance`);

    // A label is written by the page's form, read by SQL, and removed. It stays text.
    const label = `it's "<b>one</b>" ${Date.now()}`;
    await page.getByText("Write a label").click();
    await page.locator("#labels input[name=label]").first().fill(label);
    await page.locator("#labels select[name=cluster]").selectOption("0");
    await page.locator("#labels input[name=author]").first().fill("a browser");
    await page.getByRole("button", { name: "Write", exact: true }).click();
    await page.waitForURL(/#labels$/);
    assert.ok((await page.locator("#cluster-0 .label").innerText()).includes(label), `${at}: the label of cluster 0`);
    const written = () => sql(run, `SELECT run, layer, neuron, cluster, threshold, author FROM notes.labels WHERE label = '${label.replace(/'/g, "''")}'`);
    assert.deepEqual(written(), [{ run, layer, neuron, cluster: 0, threshold: 0.5, author: "a browser" }]);
    await page.getByText("Write a label").click();
    await page.locator(".written li", { hasText: label }).getByRole("button", { name: "Remove" }).click();
    await page.waitForFunction((label) => !document.body.textContent.includes(label), label);
    assert.deepEqual(written(), []);
    assert.deepEqual(said.splice(0), [], `${at}: labels`);
}

// What documents say.
const documents = sql("hostile", "SELECT doc_id, text FROM documents ORDER BY doc_id");
assert.ok(documents.length >= 5);
for (const { doc_id, text } of documents) {
    await visit(page, `${origin}/runs/hostile/documents/${doc_id}`);
    const shown = await page.locator("main").innerText();
    const plain = text.match(/[ -~]{12,}/)?.[0] ?? "";
    assert.ok(shown.replace(/\s+/g, "").includes(plain.replace(/\s+/g, "")), `document ${doc_id}: '${plain}' is required as text, got '${shown}'`);
    assert.doesNotMatch(shown, /[\u200b-\u200f\u202a-\u202e\u2066-\u2069]/, `document ${doc_id}: no invisible characters`);
    assert.equal(await page.locator("main :is(img, iframe, script, style, object, embed)").count(), 0, `document ${doc_id}: no elements`);
}
const active = sql("hostile", "SELECT layer, neuron FROM neurons WHERE n_examples > 0 ORDER BY n_examples DESC, layer, neuron LIMIT 4");
for (const { layer, neuron } of active) {
    await visit(page, `${origin}/runs/hostile/layers/${layer}/neurons/${neuron}`);
    assert.doesNotMatch(await page.locator("main").innerText(), /[\u202a-\u202e\u2066-\u2069]/);
}
assert.deepEqual(said, [], "hostile documents");
await close();
await browser.close();
console.log(`ok ${cuts} cuts of ${neurons.length} neurons as SQL cuts them, ${documents.length} hostile documents that stay text`);
