// Names are completed while SQL is written; Ctrl + Enter runs it.

const area = document.querySelector("#sql");
const names = new Map();
for (const word of document.querySelectorAll("#names [data-name]")) {
  if (!names.has(word.dataset.name)) names.set(word.dataset.name, word.dataset.about);
}

const list = document.createElement("ul");
list.id = "completions";
list.className = "completions";
list.setAttribute("role", "listbox");
list.setAttribute("aria-label", "Names that begin so");
list.hidden = true;
area.after(list);
area.setAttribute("aria-autocomplete", "list");
area.setAttribute("aria-controls", list.id);
document.querySelector(".keys").hidden = false;

/** The word that ends at the cursor. */
const begun = () => /[\p{L}_][\p{L}\p{N}_.]*$/u.exec(area.value.slice(0, area.selectionStart))?.[0] ?? "";

function close() {
  list.hidden = true;
  list.replaceChildren();
  area.removeAttribute("aria-activedescendant");
}

function choose(at) {
  const items = [...list.children];
  for (const [i, item] of items.entries()) item.setAttribute("aria-selected", String(i === at));
  items[at].scrollIntoView({ block: "nearest" });
  area.setAttribute("aria-activedescendant", items[at].id);
}

const chosen = () => [...list.children].findIndex((item) => item.getAttribute("aria-selected") === "true");

function take(name) {
  const end = area.selectionStart;
  area.setRangeText(name, end - begun().length, end, "end");
  close();
  area.focus();
}

function offer() {
  const word = begun().toLowerCase();
  const found = [...names].filter(([name]) => {
    const lower = name.toLowerCase();
    return lower.startsWith(word) && lower !== word;
  });
  if (word.length < 2 || found.length === 0) return close();
  found.sort(([a], [b]) => a.length - b.length || (a < b ? -1 : 1));
  list.replaceChildren(
    ...found.slice(0, 8).map(([name, about], at) => {
      const item = document.createElement("li");
      item.id = `completion-${at}`;
      item.setAttribute("role", "option");
      const code = document.createElement("code");
      code.textContent = name;
      const said = document.createElement("span");
      said.textContent = about;
      item.append(code, said);
      item.addEventListener("mousedown", (event) => {
        event.preventDefault();
        take(name);
      });
      return item;
    }),
  );
  list.hidden = false;
  choose(0);
}

area.addEventListener("input", offer);
area.addEventListener("blur", close);
area.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    area.form.requestSubmit();
    return;
  }
  if (list.hidden) return;
  const last = list.children.length - 1;
  if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    event.preventDefault();
    const at = chosen() + (event.key === "ArrowDown" ? 1 : -1);
    choose(at < 0 ? last : at > last ? 0 : at);
  } else if (event.key === "Tab" && !event.shiftKey) {
    event.preventDefault();
    take(list.children[chosen()].querySelector("code").textContent);
  } else if (event.key === "Escape") {
    event.preventDefault();
    close();
  }
});
