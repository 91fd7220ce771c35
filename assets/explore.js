// What moves on a page that can also be read without it.

const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const pageAt = async (address, signal) => {
  const answer = await fetch(address, { signal });
  if (!answer.ok) throw new Error(`${answer.status}`);
  return new DOMParser().parseFromString(await answer.text(), "text/html");
};

// Queries to the clipboard.
const offerCopies = (within) => {
  for (const button of all("button.copy", within)) button.hidden = !navigator.clipboard;
};
document.addEventListener("click", async (event) => {
  const button = event.target.closest("button.copy");
  if (!button) return;
  await navigator.clipboard.writeText(button.closest(".code").querySelector("code").textContent);
  button.textContent = "Copied";
});
offerCopies(document);

// The clusters of a tree at a threshold, numbered as the page does: the largest first, then by the least example. A merge at
// the threshold itself joins; heights are 32-bit numbers.
const cut = ({ leaves, joins, inside }, threshold, first) => {
  const n = leaves.length;
  const whole = leaves.map(() => true);
  const sizes = leaves.map(([, size]) => size);
  let [pairs, sum] = inside;
  let [apart, apartSum] = [0, 0];
  joins.forEach(([left, right, written], at) => {
    const height = Math.fround(written);
    whole[n + at] = height <= threshold && whole[left] && whole[right];
    sizes[n + at] = sizes[left] + sizes[right];
    const joined = sizes[left] * sizes[right];
    if (whole[n + at]) [pairs, sum] = [pairs + joined, sum + joined * height];
    else [apart, apartSum] = [apart + joined, apartSum + joined * height];
  });
  const root = whole.map((_, node) => node);
  // Pairs inside each node, and the sum of their distances.
  const within = whole.map(() => [0, 0]);
  joins.forEach(([left, right, written], at) => {
    const joined = sizes[left] * sizes[right];
    within[n + at] = [joined, joined * Math.fround(written)].map((x, i) => x + within[left][i] + within[right][i]);
  });
  for (let at = joins.length - 1; at >= 0; at--) {
    if (whole[n + at]) for (const part of joins[at].slice(0, 2)) root[part] = root[n + at];
  }
  const found = new Map();
  leaves.forEach(([example, size], leaf) => {
    const [had, least] = found.get(root[leaf]) ?? [0, Infinity];
    found.set(root[leaf], [had + size, Math.min(least, example)]);
  });
  const order = [...found.keys()].sort((a, b) => {
    const [sizeA, leastA] = found.get(a);
    const [sizeB, leastB] = found.get(b);
    return sizeB - sizeA || leastA - leastB;
  });
  const number = new Map(order.map((node, at) => [node, first + at]));
  return {
    clusters: root.map((node, at) => (whole[at] ? number.get(node) : undefined)),
    count: order.length,
    inside: order.map((node) => (within[node][0] ? within[node][1] / within[node][0] : undefined)),
    intra: pairs ? sum / pairs : undefined,
    inter: apart ? apartSum / apart : undefined,
  };
};
const colour = (cluster) => (cluster === undefined ? "up" : cluster < 8 ? `c${cluster}` : "cx");
const fixed = (x) => (x === undefined ? "–" : x.toFixed(3).replace("-", "−"));

// The points of the pictures in the colours of a cut, and a number where the points of a cluster are on average. Of a cluster
// whose leaves are not drawn one by one the page does not know the examples.
const recolour = (cuts) => {
  const clusters = new Map(cuts.flatMap(({ leaves, clusters: of }) => leaves.map(([example], at) => [`#example-${example}`, of[at]])));
  for (const svg of all("svg.points")) {
    const sums = new Map();
    for (const link of all("a", svg)) {
      const [point, name] = [link.firstElementChild, link.getAttribute("href")];
      if (!clusters.has(name)) continue;
      const cluster = clusters.get(name);
      point.setAttribute("class", colour(cluster));
      const [x, y, n] = sums.get(cluster) ?? [0, 0, 0];
      sums.set(cluster, [x + Number(point.getAttribute("cx")), y + Number(point.getAttribute("cy")), n + 1]);
    }
    for (const old of all("text", svg)) old.remove();
    for (const [cluster, [x, y, n]] of sums) {
      if (!(cluster < 8)) continue;
      const number = document.createElementNS(svg.namespaceURI, "text");
      number.setAttribute("class", "which");
      number.setAttribute("x", (x / n).toFixed(1));
      number.setAttribute("y", (y / n - 7).toFixed(1));
      number.textContent = cluster;
      svg.append(number);
    }
  }
};

const form = document.querySelector("form.recut");
if (form) {
  const slider = form.elements.threshold;
  const exact = form.querySelector(".exact");
  const trees = all("figure.tree").map((figure) => ({
    data: JSON.parse(figure.dataset.tree),
    joins: all("path.join", figure),
    leaves: all("rect.leaf", figure),
    line: figure.querySelector("path.cut"),
  }));
  const redraw = (threshold) => {
    let count = 0;
    const cuts = [];
    trees.forEach((tree, list) => {
      const { leaves, top } = tree.data;
      const now = cut(tree.data, threshold, count);
      count += now.count;
      cuts.push({ ...now, leaves });
      tree.leaves.forEach((leaf, at) => leaf.setAttribute("class", `leaf ${colour(now.clusters[at])}`));
      tree.joins.forEach((join, at) => join.setAttribute("class", `join ${colour(now.clusters[leaves.length + at])}`));
      const y = 200 * (1 - Math.min(threshold, top) / top);
      tree.line.setAttribute("d", `M0 ${y.toFixed(1)}H${10 * leaves.length}`);
      const tiles = document.querySelector(`.tiles[data-list="${list}"]`);
      tiles.querySelector('[data-metric="n_clusters"]').textContent = now.count;
      tiles.querySelector('[data-metric="intra"]').textContent = fixed(now.intra);
      tiles.querySelector('[data-metric="inter"]').textContent = fixed(now.inter);
    });
    document.querySelector('[data-say="clusters"]').textContent = `${count} feature cluster${count === 1 ? "" : "s"}`;
    document.querySelector('[data-say="threshold"]').textContent = threshold;
    recolour(cuts);
    return cuts;
  };
  let wait, reading;
  const recut = (threshold) => {
    if (!(threshold >= 0 && threshold <= 2)) return;
    const cuts = redraw(threshold);
    if (document.body.matches(".site")) {
      document.dispatchEvent(new CustomEvent("recut", { detail: { threshold, cuts } }));
      return;
    }
    clearTimeout(wait);
    reading?.abort();
    document.body.classList.add("reading");
    // What is below the tree follows when the hand rests.
    wait = setTimeout(async () => {
      const address = new URL(location.href);
      address.searchParams.set("threshold", threshold);
      reading = new AbortController();
      try {
        const page = await pageAt(address, reading.signal);
        for (const part of ["#clusters", "#numbers", "#projection", "#labels", ".title", ".lead", "#tree > details"]) {
          const now = page.querySelector(part);
          if (now) document.querySelector(part)?.replaceWith(document.adoptNode(now));
        }
        offerCopies(document);
        history.replaceState(null, "", address);
        document.body.classList.remove("reading");
      } catch (error) {
        if (error.name !== "AbortError") document.querySelector('[data-say="threshold"]').textContent = `${threshold} (the explorer does not answer)`;
      }
    }, 250);
  };
  exact.hidden = false;
  form.querySelector("button").hidden = true;
  slider.addEventListener("input", () => {
    exact.value = slider.value;
    recut(Number(slider.value));
  });
  exact.addEventListener("input", () => {
    if (exact.value === "") return;
    slider.value = exact.value;
    recut(Number(exact.value));
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  // Pictures that were not there yet when the tree was cut.
  document.addEventListener("unpacked", () => exact.value !== slider.getAttribute("value") && recut(Number(exact.value)));
  // From a leaf to its example.
  document.addEventListener("click", (event) => {
    const leaf = event.target.closest("rect.leaf");
    const row = leaf && document.getElementById(`example-${leaf.dataset.example}`);
    if (row) location.hash = row.id;
  });
}
const marksOf = (row) => [...all(`rect.leaf[data-example="${row.id.slice("example-".length)}"]`), ...all(`svg.points a[href="#${row.id}"]`)];
for (const [kind, on] of [["pointerover", true], ["pointerout", false], ["focusin", true], ["focusout", false]]) {
  document.addEventListener(kind, (event) => {
    const row = event.target.closest?.("ol.examples > li");
    for (const mark of row ? marksOf(row) : []) mark.classList.toggle("seen", on);
  });
}

// The value of a token under the pointer, or reached with the arrow keys.
const tip = document.createElement("div");
tip.className = "tip";
tip.setAttribute("role", "status");
tip.hidden = true;
document.body.append(tip);
const tokens = (text) => all(":scope > span, :scope > mark", text);
const say = (token) => {
  const text = token.closest(".text[data-values]");
  const value = text && text.dataset.values.split(" ")[tokens(text).indexOf(token)];
  tip.hidden = !value;
  if (!value) return;
  tip.textContent = value.replace("-", "−");
  const { left, top } = token.getBoundingClientRect();
  tip.style.left = `${left + scrollX}px`;
  tip.style.top = `${top + scrollY - tip.offsetHeight - 4}px`;
};
const tokenOf = (event) => event.target.closest?.(".text[data-values] > *");
document.addEventListener("pointerover", (event) => {
  const token = tokenOf(event);
  if (token) say(token);
  else if (!event.target.closest?.(".tip")) tip.hidden = true;
});
document.addEventListener("focusin", (event) => {
  const token = tokenOf(event);
  if (token) say(token);
});
document.addEventListener("focusout", () => (tip.hidden = true));
const rove = (within) => {
  for (const list of all("ol.examples", within)) list.querySelector(".text mark")?.setAttribute("tabindex", "0");
};
rove(document);
new MutationObserver(() => rove(document)).observe(document.querySelector("main"), { childList: true });
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") tip.hidden = true;
  const token = tokenOf(event);
  if (!token) return;
  const text = token.parentElement;
  const row = (next) => (next ? tokens(next).find((other) => other.matches("mark")) : undefined);
  const rows = all(".text", text.closest("ol.examples") ?? text);
  const here = tokens(text).indexOf(token);
  const to = {
    ArrowLeft: () => tokens(text)[here - 1],
    ArrowRight: () => tokens(text)[here + 1],
    ArrowUp: () => row(rows[rows.indexOf(text) - 1]),
    ArrowDown: () => row(rows[rows.indexOf(text) + 1]),
  }[event.key]?.();
  if (!to) return;
  event.preventDefault();
  token.removeAttribute("tabindex");
  to.setAttribute("tabindex", "0");
  to.focus();
});

// A part of another page, once nothing of it is computed any more; until then `told` has what the page says.
const partOf = async (address, part, told) => {
  for (;;) {
    const found = (await pageAt(address)).querySelector(part);
    const working = found.querySelector(".working");
    if (!working) return document.adoptNode(found);
    told(working.textContent);
    await new Promise((resolve) => setTimeout(resolve, 2000));
  }
};

// Similar features where they are asked for.
document.addEventListener("click", async (event) => {
  const link = event.target.closest("a[data-inline]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  const place = link.parentElement;
  place.setAttribute("aria-busy", "true");
  link.textContent = "Similar features are looked for …";
  try {
    const found = await partOf(link.href, "#similar", () => (link.textContent = "All neurons of the run are being clustered …"));
    found.removeAttribute("id");
    place.replaceWith(found);
    offerCopies(found);
  } catch {
    location.href = link.href;
  }
});

// What needs the model of the run, for which the page does not wait; where it does not come, the link stays.
for (const section of all("section[data-late]")) {
  const link = section.querySelector("a");
  const words = link.textContent;
  partOf(link.href, `#${section.id}`, (text) => (link.textContent = text.split(";")[0])).then(
    (found) => {
      section.replaceWith(found);
      offerCopies(found);
    },
    () => (link.textContent = words),
  );
}

// The tokens of an example by their importance, and back.
document.addEventListener("click", async (event) => {
  const link = event.target.closest("a[data-weigh]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  if (link.ariaBusy) return;
  const row = link.closest("li");
  const now = row.querySelector(".text");
  if (!row.others) {
    link.ariaBusy = "true";
    try {
      const found = await partOf(link.href, "#importance", (text) => (link.textContent = text.split(",")[0]));
      if (found.querySelector(".problem")) throw new Error("none");
      row.others = found.querySelector(".text");
    } catch {
      location.href = link.href;
      return;
    }
    link.ariaBusy = null;
  }
  const next = row.others;
  row.others = now;
  now.replaceWith(next);
  link.textContent = next.matches(".importance") ? "activation" : "importance";
  rove(row.closest("main"));
});

// The card of a neuron as a PNG: the reader's browser draws it, with the fonts it has.
for (const button of all("button.png")) button.hidden = false;
document.querySelector("form.recut")?.addEventListener("input", ({ target }) => {
  for (const link of all(".share a")) link.search = `?threshold=${target.value}`;
});
document.addEventListener("click", async (event) => {
  const button = event.target.closest("button.png");
  if (!button) return;
  const card = new Image();
  card.src = button.previousElementSibling.href;
  await card.decode();
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [2 * card.naturalWidth, 2 * card.naturalHeight];
  canvas.getContext("2d").drawImage(card, 0, 0, canvas.width, canvas.height);
  const link = document.createElement("a");
  link.download = button.dataset.name;
  link.href = URL.createObjectURL(await new Promise((drawn) => canvas.toBlob(drawn, "image/png")));
  link.click();
  URL.revokeObjectURL(link.href);
});
