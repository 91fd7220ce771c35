// What a published page does by itself where the explorer asks its server.

{
  const site = document.body.dataset.root;
  const fromScript = (file) =>
    new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = site + file;
      script.onload = resolve;
      script.onerror = () => reject(new Error(file));
      document.head.append(script);
    });
  // What data files hand on.
  const handed = { rows: [], words: new Map() };
  globalThis.polysema = {
    rows: (rows) => handed.rows.push(...rows),
    words: (words) => words.forEach(([word, found]) => handed.words.set(word, found)),
  };
  const make = (name, properties = {}, ...children) => {
    const made = Object.assign(document.createElement(name), properties);
    made.append(...children);
    return made;
  };
  const digits = (x, places) => (x === null || x === undefined ? "–" : x.toFixed(places).replace("-", "−"));
  const counted = (n) => String(n).replace(/\B(?=(\d{3})+$)/g, "\u202f");
  const shares = (x) => (x === null ? "–" : x > 0 && x < 0.0001 ? "<0.01 %" : `${(100 * x).toFixed(x < 0.01 ? 2 : 1)} %`);
  const toNeuron = (layer, neuron, text, cluster) =>
    make("a", { href: `${site}neurons/${layer}/${neuron}.html${cluster === undefined ? "" : `#cluster-${cluster}`}` }, text);

  // To a neuron by its numbers.
  const go = document.getElementById("go");
  go.hidden = false;
  go.addEventListener("submit", (event) => {
    event.preventDefault();
    location.href = toNeuron(Number(go.elements.layer.value), Number(go.elements.neuron.value), "").href;
  });

  // The examples that are packed.
  const packed = document.getElementById("packed");
  const unpacked = (async () => {
    if (!packed) return;
    const bytes = Uint8Array.from(atob(packed.textContent), (c) => c.charCodeAt(0));
    const html = await new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
    const lists = new DOMParser().parseFromString(html, "text/html");
    for (const list of lists.querySelectorAll("ol[data-cluster]")) {
      const section = document.getElementById(`cluster-${list.dataset.cluster}`);
      section.querySelector("ol.examples").append(...list.children);
      section.querySelector(".packed").remove();
    }
    for (const part of lists.querySelectorAll("[data-place]")) {
      const place = document.getElementById(part.dataset.place);
      place.append(...part.children);
      place.parentElement.querySelector(".packed").remove();
    }
    packed.remove();
    if (lists.querySelector("[data-place]")) document.dispatchEvent(new CustomEvent("unpacked"));
    const target = location.hash && document.getElementById(location.hash.slice(1));
    if (target) location.replace(location.hash);
  })();

  // The clusters at another threshold. One with the same examples as one that the page came with stays as it was; of another
  // the page knows its examples, not the central one among them.
  const clusters = document.getElementById("clusters");
  const came = { cards: new Map(), sections: new Map() };
  const name = (examples) => [...examples].sort((a, b) => a - b).join(" ");
  const exampleOf = (row) => Number(row.id.slice("example-".length));
  const ready = unpacked.then(() => {
    if (!clusters) return;
    for (const section of clusters.querySelectorAll("section.cluster:not(#cluster-none)")) {
      const key = name([...section.querySelectorAll("ol.examples > li")].map(exampleOf));
      came.sections.set(key, { section, rows: [...section.querySelectorAll("ol.examples > li")] });
      const card = clusters.querySelector(`.cards a[href="#${section.id}"]`)?.closest("li");
      if (card) came.cards.set(key, card);
    }
  });
  const numbered = (part, cluster, colour) => {
    const dot = part.querySelector(".dot");
    dot.className = `dot ${colour}`;
    dot.textContent = cluster;
  };
  const valueOf = (row) => Number(row.querySelector(".act").textContent.replace("−", "-"));
  const keyTokens = (rows) => {
    const counts = new Map();
    for (const row of rows) {
      const token = row.querySelector(".text mark")?.textContent;
      if (token) counts.set(token, (counts.get(token) ?? 0) + 1);
    }
    return [...counts].sort(([a, n], [b, m]) => m - n || (a < b ? -1 : 1)).slice(0, 5);
  };
  const plural = (n) => `${counted(n)} example${n === 1 ? "" : "s"}`;
  const mean = (numbers) => numbers.reduce((sum, x) => sum + x, 0) / numbers.length;
  document.addEventListener("recut", async ({ detail: { threshold, cuts } }) => {
    await ready;
    const rows = new Map();
    for (const { rows: of } of came.sections.values()) for (const row of of) rows.set(exampleOf(row), row);
    const all = cuts.reduce((n, { leaves }) => n + leaves.length, 0);
    const [cards, sections] = [[], []];
    for (const { clusters: of, count, inside, leaves } of cuts) {
      const first = sections.length;
      for (let cluster = first; cluster < first + count; cluster++) {
        const examples = leaves.flatMap(([example], at) => (of[at] === cluster ? [example] : []));
        const members = examples.map((example) => rows.get(example)).sort((a, b) => exampleOf(a) - exampleOf(b));
        const colour = cluster < 8 ? `c${cluster}` : "cx";
        const known = came.sections.get(name(examples));
        const section = known?.section ?? clusters.querySelector("section.cluster").cloneNode(true);
        const list = section.querySelector("ol.examples");
        list.replaceChildren(...(known ? known.rows : members));
        section.id = `cluster-${cluster}`;
        const title = section.querySelector("h3");
        numbered(title, cluster, colour);
        title.lastChild.textContent = ` Cluster ${cluster}`;
        let card = came.cards.get(name(examples));
        const activations = members.map(valueOf);
        if (!known) {
          const distance = inside[cluster - first];
          section.querySelector("header .dim").textContent =
            `${plural(examples.length)}, activation ${digits(mean(activations), 2)} on average` +
            (distance === undefined ? "" : `, distance inside ${digits(distance, 3)}`);
        }
        if (!card) {
          const most = members[activations.indexOf(Math.max(...activations))];
          const head = make("p", { className: "head" }, make("a", {}, make("span", { className: "dot" }), ` ${plural(examples.length)}`));
          const tokens = keyTokens(members).flatMap(([token]) => [make("code", { className: "token" }, token), " "]);
          card = make("li", { className: "card" }, head, most.querySelector(".text").cloneNode(true), make("p", { className: "tokens" }, ...tokens));
          const share = clusters.querySelector("svg.share")?.cloneNode(true);
          if (share) {
            share.lastElementChild.setAttribute("width", ((100 * examples.length) / all).toFixed(1));
            share.lastElementChild.setAttribute("class", colour);
            head.after(share);
          }
        }
        card.className = `card ${colour}`;
        card.querySelector(".head a").setAttribute("href", `#cluster-${cluster}`);
        numbered(card, cluster, colour);
        cards.push(card);
        sections.push(section);
      }
    }
    for (const old of clusters.querySelectorAll("section.cluster:not(#cluster-none)")) {
      if (!sections.includes(old)) old.remove();
    }
    // Rows of sections that are gone are in those that came.
    const before = clusters.querySelector("#cluster-none") ?? clusters.querySelector(":scope > details.sql");
    for (const section of sections) clusters.insertBefore(section, before);
    const shown = sections.length > 1 ? cards.slice(0, 12) : [];
    clusters.querySelector("ul.cards")?.replaceChildren(...shown);
    const note = document.querySelector("#clusters > .recut-note") ?? make("p", { className: "note recut-note" });
    const is = Number(document.querySelector("form.recut input[type=range]").getAttribute("value"));
    note.textContent = threshold === is ? "" : `Cut at ${threshold} by this page; its queries are those at ${is}.`;
    clusters.prepend(note);
  });

  // The table of a layer, whole: sorted by any column, filtered, a part at a time.
  const table = document.getElementById("neurons");
  if (table?.dataset.parts) {
    const ROWS = 100;
    const layer = document.querySelector("h1").textContent.replace(/\D+/, "");
    const columns = [
      ["Neuron", 0, counted], ["Clusters", 2, counted], ["Examples", 3, counted], ["Distance, mean", 4, (x) => digits(x, 3)],
      ["Distance, max", 5, (x) => digits(x, 3)], ["Activation, max", 6, (x) => digits(x, 2)], ["Active on", 7, shares],
    ];
    const state = { by: 0, down: false, from: 0, clusters: 0, examples: 0 };
    const body = make("tbody");
    const caption = make("caption");
    const turn = make("nav", { className: "turn site-turn" });
    turn.setAttribute("aria-label", "Parts of the layer");
    const heads = columns.map(([title], at) => {
      const button = make("button", { type: "button", className: "sort" }, title);
      const head = make("th", { scope: "col", className: "n" }, button);
      button.addEventListener("click", () => {
        [state.down, state.by, state.from] = [state.by === at ? !state.down : at > 0, at, 0];
        show();
      });
      return head;
    });
    const show = () => {
      const [, column] = columns[state.by];
      const rows = handed.rows.filter((row) => (row[2] ?? 0) >= state.clusters && row[3] >= state.examples);
      const rank = (row) => row[column] ?? (state.down ? -Infinity : Infinity);
      rows.sort((a, b) => (state.down ? rank(b) - rank(a) : rank(a) - rank(b)) || a[0] - b[0]);
      body.replaceChildren(
        ...rows.slice(state.from, state.from + ROWS).map((row) => {
          const sign = row[1] ? [" ", make("span", { className: "dim" }, row[1])] : [];
          const head = make("th", { scope: "row", className: "n" }, toNeuron(layer, row[0], row[0]), ...sign);
          const cells = columns.slice(1).map(([, at, written]) => make("td", { className: "n" }, row[at] === null ? "–" : written(row[at])));
          return make("tr", {}, head, ...cells);
        }),
      );
      const last = Math.min(state.from + ROWS, rows.length);
      caption.textContent = rows.length ? `${counted(state.from + 1)} to ${counted(last)} of ${counted(rows.length)}` : "No neuron of the layer is so.";
      heads.forEach((head, at) => {
        const word = at !== state.by ? "none" : state.down ? "descending" : "ascending";
        head.setAttribute("aria-sort", word);
        head.firstChild.className = `sort ${word}`;
      });
      const turned = (text, from) => {
        const button = make("button", { type: "button" }, text);
        button.addEventListener("click", () => {
          state.from = from;
          show();
        });
        return button;
      };
      turn.replaceChildren(
        ...(state.from ? [turned("‹ Back", Math.max(0, state.from - ROWS))] : []),
        ...(last < rows.length ? [turned("More ›", state.from + ROWS)] : []),
      );
    };
    const least = (title, of) => {
      const input = make("input", { type: "number", min: 0 });
      input.addEventListener("input", () => {
        [state[of], state.from] = [Number(input.value), 0];
        show();
      });
      return make("label", {}, `${title}, at least `, input);
    };
    Promise.all(table.dataset.parts.split(" ").map(fromScript)).then(() => {
      const filters = make("form", { className: "filters site-filters" }, least("clusters", "clusters"), least("examples", "examples"));
      filters.addEventListener("submit", (event) => event.preventDefault());
      document.querySelector("form.filters").replaceWith(filters);
      table.querySelector("table, .empty")?.replaceWith(make("table", { className: "rows" }, caption, make("thead", {}, make("tr", {}, ...heads)), body));
      table.querySelector("table").after(turn);
      show();
    });
  }

  // The clusters of a word, from the file that its hash names.
  const hashed = (word) => {
    let hash = 0x811c9dc5;
    for (const byte of new TextEncoder().encode(word)) hash = Math.imul(hash ^ byte, 0x01000193) >>> 0;
    return hash;
  };
  const word = new URLSearchParams(location.search).get("word")?.trim().toLowerCase();
  if (word && document.getElementById("tokens")) {
    const file = `search/${(hashed(word) % 256).toString(16).padStart(2, "0")}.js`;
    fromScript(file).then(() => {
      const [n, found] = handed.words.get(word) ?? [0, []];
      const title = document.querySelector("h1");
      title.replaceChildren("Search: ", make("bdi", {}, word));
      const heads = ["Neuron", "Cluster", "Examples", "Of the word", "Share"].map((text, at) => make("th", { scope: "col", className: at ? "n" : "" }, text));
      const rows = found.map(([layer, neuron, cluster, size, matches]) => {
        const head = make("th", { scope: "row" }, toNeuron(layer, neuron, `${layer} · ${neuron}`, cluster));
        const cells = [cluster, counted(size), counted(matches), shares(matches / size)].map((text) => make("td", { className: "n" }, String(text)));
        return make("tr", {}, head, ...cells);
      });
      const all = `${counted(n)} feature cluster${n === 1 ? "" : "s"}`;
      const of = n > found.length ? `the first ${counted(found.length)} of ${all}` : all;
      const caption = make("caption", {}, n ? of : "No feature cluster has such a key token.");
      const list = make("table", { className: "rows" }, caption, make("thead", {}, make("tr", {}, ...heads)), make("tbody", {}, ...rows));
      document.getElementById("tokens").before(make("section", { className: "panel wide", id: "clusters-of-word" }, make("h2", {}, "Feature clusters"), list));
    });
  }

  // A token of a document.
  const token = /^#token-(\d+)$/.exec(location.hash);
  const whole = document.querySelector(".text.whole");
  if (token && whole) {
    const found = whole.children[Number(token[1])];
    if (found) {
      found.id = location.hash.slice(1);
      found.classList.add("key");
      found.scrollIntoView({ block: "center" });
    }
  }
}
