// Pages of a run of images in a real browser: node images.mjs ADDRESS PROGRAM STORE
//
// The numbers that a reader sees of a training, of a neuron's effects on the classes and on its card are those of SQL; a card is
// drawn as a PNG, at the cut that the slider has.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { browser, open, origin, sql, visit } from "./support.mjs";

const { page, said, close } = await open();
const shown = (x) => Number(Number(x).toPrecision(6));

// The curve of a training.
await visit(page, `${origin}/runs/digits/saes/ne`);
const rows = sql("digits", "SELECT * FROM polysema.info.sae_training WHERE sae = 'ne' ORDER BY step");
const curves = await page.$$eval("#training figure", (all) =>
    all.map((figure) => ({
        title: figure.querySelector("b").textContent,
        ends: figure.querySelector(".key").textContent.split(" → ").map(Number),
        points: figure.querySelector("path.line").getAttribute("d").match(/[ML]/g).length,
    })),
);
const columns = {
    Loss: "loss",
    "Mean squared error": "mse",
    "Explained variance": "explained_variance",
    "Active latents of a row (L0)": "l0",
    "Dead latents, %": "dead_percent",
    "Sum of activations of a batch (L1)": "l1",
    "Distance to average embeddings": "ne_loss",
};
assert.deepEqual(curves.map((curve) => curve.title).sort(), Object.keys(columns).sort());
for (const { title, ends, points } of curves) {
    const column = columns[title];
    assert.deepEqual(ends, [shown(rows[0][column]), shown(rows.at(-1)[column])], title);
    assert.equal(points, rows.length, title);
}

// A neuron: its effects on the classes, and a picture for every map.
await visit(page, `${origin}/runs/digits/layers/0/neurons/2`);
const effects = sql("digits", "SELECT token AS class, effect FROM logit_effects(0, 2) ORDER BY token_id");
const bars = await page.$$eval("#classes tr", (all) =>
    all.map((row) => ({ class: row.querySelector("th").textContent, effect: Number(row.querySelector("td.n").textContent) })),
);
assert.deepEqual(bars, effects.map((row) => ({ class: row.class, effect: shown(row.effect) })));
const drawn = await page.$$eval("#maps img, .card img", (all) => all.map((image) => [image.complete, image.naturalWidth, image.naturalHeight]));
const [{ n }] = sql("digits", "SELECT count(*) AS n FROM cluster_summary(0, 2)");
assert.equal(drawn.length, 4 + 3 * n);
for (const size of drawn) assert.deepEqual(size, [true, 28, 28]);

// Its card, as the slider cuts.
await page.locator("#threshold").fill("0.3");
// A slider has its own steps.
const threshold = await page.locator("#threshold").inputValue();
const card = await page.locator(".share a").getAttribute("href");
assert.ok(card.endsWith(`/card.svg?threshold=${threshold}`), card);
const [{ clusters }] = sql("digits", `SELECT n_clusters AS clusters FROM neuron_polysemanticity(0, 2, {threshold: ${threshold}})`);
const svg = await (await page.request.get(new URL(card, origin).href)).text();
assert.ok(svg.includes(`in ${clusters} feature clusters at distance ${Number(threshold)},`), svg.slice(0, 400));
const [download] = await Promise.all([page.waitForEvent("download"), page.locator("button.png").click()]);
assert.equal(download.suggestedFilename(), "digits-0-2.png");
const png = await readFile(await download.path());
assert.equal(png.subarray(1, 4).toString(), "PNG");
const [width, height] = [16, 20].map((at) => png.readUInt32BE(at));
const [, w, h] = svg.match(/ width="([\d.]+)" height="([\d.]+)"/);
assert.deepEqual([width, height], [2 * w, 2 * h]);

assert.deepEqual(said, []);
await close();
await browser.close();
console.log(`ok ${curves.length} curves of ${rows.length} points, ${bars.length} classes, ${drawn.length} images, a card of ${width} x ${height}`);
