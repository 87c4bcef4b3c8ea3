"use strict";
(() => {
  const root = document.documentElement;
  const strings = JSON.parse(document.getElementById("strings").textContent);
  const all = (selector, from = document) => [...from.querySelectorAll(selector)];
  const store = {
    get(key) { try { return localStorage.getItem("hizala." + key); } catch { return null; } },
    set(key, value) { try { localStorage.setItem("hizala." + key, value); } catch { /* a file may have no storage */ } },
  };

  // Language: numbers take a decimal comma in Turkish, phrases come from the table with their arguments.
  const local = (text) => root.lang === "tr" ? text.replaceAll(", ", "; ").replaceAll(".", ",") : text;
  const phrase = (key, args = {}) => strings[root.lang][key].replace(/\{(\w+)\}/g, (whole, name) => {
    const value = args[name];
    if (value === undefined) return whole;
    if (typeof value !== "object") return String(value);
    return "n" in value ? local(value.n) : strings[root.lang][value.t];
  });
  const args = (text) => text ? JSON.parse(text) : {};
  const original = new WeakMap();

  function speak(lang) {
    root.lang = lang;
    for (const el of all("[data-t]")) el.textContent = phrase(el.dataset.t, args(el.dataset.a));
    for (const el of all("[data-at]")) {
      const at = el.dataset.at.indexOf(":");
      el.setAttribute(el.dataset.at.slice(0, at), phrase(el.dataset.at.slice(at + 1), args(el.dataset.aa)));
    }
    for (const el of all(".n")) {
      if (!original.has(el)) original.set(el, el.textContent);
      el.textContent = local(original.get(el));
    }
    for (const el of all(".strip title")) {
      if (!original.has(el)) original.set(el, el.textContent);
      el.textContent = local(original.get(el));
    }
    for (const el of all("[data-lang]", document.getElementById("switches"))) {
      el.setAttribute("aria-pressed", String(el.dataset.lang === lang));
    }
    document.title = document.querySelector("h1 bdi").textContent + " · " + phrase("title");
    for (const browser of all(".browser, .rolls")) browser.dispatchEvent(new Event("spoken"));
  }

  function paint(theme) {
    if (theme === "auto") delete root.dataset.theme; else root.dataset.theme = theme;
    for (const el of all("[data-theme]", document.getElementById("switches"))) {
      el.setAttribute("aria-pressed", String(el.dataset.theme === theme));
    }
  }

  // Charts: the strip under the pointer, or chosen with the arrow keys, shows its values below the chart.
  function readable(figure) {
    const svg = figure.querySelector("svg.chart");
    const strips = all(".strip", svg);
    const cursor = svg.querySelector(".cursor");
    const readout = figure.querySelector(".readout");
    const names = all(".legend li", figure);
    let at = -1;
    const show = (index) => {
      at = Math.max(0, Math.min(strips.length - 1, index));
      const strip = strips[at];
      if (!strip) return;
      cursor.setAttribute("x1", strip.dataset.c);
      cursor.setAttribute("x2", strip.dataset.c);
      svg.classList.add("live");
      readout.replaceChildren(phrase(figure.dataset.read, { x: { n: strip.dataset.x } }));
      strip.dataset.v.split("|").forEach((value, i) => {
        if (!value) return;
        const part = document.createElement("span");
        part.className = names[i] ? names[i].className : "train";
        const dot = document.createElement("i");
        const number = document.createElement("b");
        number.textContent = local(value);
        part.append(dot, number);
        readout.append(" ", part);
      });
    };
    const leave = () => { at = -1; svg.classList.remove("live"); readout.replaceChildren(); };
    svg.addEventListener("pointermove", (event) => {
      const index = strips.indexOf(event.target.closest(".strip"));
      if (index >= 0 && index !== at) show(index);
    });
    svg.addEventListener("pointerleave", (event) => { if (event.pointerType === "mouse") leave(); });
    svg.addEventListener("blur", leave);
    svg.addEventListener("keydown", (event) => {
      const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (move) { event.preventDefault(); show(at < 0 ? (move > 0 ? 0 : strips.length - 1) : at + move); }
      if (event.key === "Home") { event.preventDefault(); show(0); }
      if (event.key === "End") { event.preventDefault(); show(strips.length - 1); }
      if (event.key === "Escape") leave();
    });
  }

  // Samples: filters and pages over the articles that stand in the page.
  function browse(box) {
    const size = Number(box.dataset.size);
    const filters = all("select", box);
    const articles = all("article", box);
    const place = box.querySelector(".place");
    const [previous, next] = all(".pages button", box);
    let page = 0;
    const draw = () => {
      const fits = articles.filter((el) => filters.every((f) => !f.value || el.dataset[f.dataset.filter] === f.value));
      const last = Math.max(0, Math.ceil(fits.length / size) - 1);
      page = Math.max(0, Math.min(page, last));
      const shown = new Set(fits.slice(page * size, (page + 1) * size));
      for (const el of articles) el.hidden = !shown.has(el);
      box.querySelector(".nomatch").hidden = fits.length > 0;
      place.textContent = fits.length === 0 ? "" : phrase("samples.page",
        { from: String(page * size + 1), to: String(Math.min((page + 1) * size, fits.length)), all: String(fits.length) });
      previous.disabled = page === 0;
      next.disabled = page === last;
    };
    for (const select of filters) select.addEventListener("change", () => { page = 0; draw(); });
    for (const button of [previous, next]) {
      button.addEventListener("click", () => {
        page += Number(button.dataset.move);
        draw();
        box.scrollIntoView({ block: "start" });
      });
    }
    box.addEventListener("spoken", draw);
    box.querySelector(".filters").hidden = filters.length === 0;
    box.querySelector(".pages").hidden = articles.length <= size;
    draw();
  }

  // Sampled responses: rows of the page's data, filtered and in the order asked for; text is only ever set as text.
  function roll(box) {
    const { parts, prompts, rows } = JSON.parse(box.querySelector("script").textContent);
    const picks = Object.fromEntries(all("select", box).map((el) => [el.dataset.pick, el]));
    const asked = (kind) => picks[kind] ? picks[kind].value : "";
    const [body, sheet, place] = [box.querySelector("tbody"), box.querySelector("template"), box.querySelector(".place")];
    const [previous, next] = all(".pages button", box);
    const size = Number(box.dataset.size);
    const known = (kind, name) => strings[root.lang][kind + "." + name.toLowerCase()] ?? name.replaceAll("_", " ");
    const worth = (row) => asked("by") === "" ? row[4] : row[6][asked("by")]?.[1] ?? null;
    let page = 0;
    const line = ([at, said, cut, shown, score, share, values, tokens, truncated, reason], again) => {
      const tr = sheet.content.firstElementChild.cloneNode(true);
      const [step, task, lang, prompt, missing] = prompts[at];
      const set = (name, text) => { tr.querySelector("." + name).textContent = text; };
      const left = (n) => n ? phrase("samples.cut", { n: { n: String(n) } }) : "";
      tr.classList.toggle("again", again);
      set("step", step);
      set("task", again ? "" : task && known("metric", task));
      set("lang", again ? "" : lang && known("lang", lang));
      set("prompt", again ? "″" : prompt);
      set("prompt-cut", again ? "" : left(missing));
      set("said", said.trim() ? said : phrase("samples.empty"));
      set("notes-of", [truncated ? phrase("samples.truncated") : "", reason, left(cut)].filter(Boolean).join(" · "));
      set("total", score === null ? phrase("scores.noscore") : local(shown));
      if (score !== null) tr.querySelector(".total").classList.add("g" + share);
      tr.querySelector(".parts").append(...values.flatMap((value, i) => {
        if (!value) return [];
        const each = document.createElement("div");
        each.textContent = parts[i] + " " + local(value[0]);
        return [each];
      }));
      set("tokens", tokens ?? "");
      return tr;
    };
    const draw = () => {
      const [step, task, lang, which, order] = ["step", "task", "lang", "which", "order"].map(asked);
      const fits = rows.filter((row) => {
        const prompt = prompts[row[0]];
        return (!step || String(prompt[0]) === step) && (!task || prompt[1] === task) && (!lang || prompt[2] === lang)
          && (which !== "unscored" || row[4] === null) && (which !== "truncated" || row[8]);
      });
      const sign = order === "low" ? 1 : -1;
      const key = order === "long" ? (row) => row[7] : worth;
      // What has no value stands last in either order.
      if (order) fits.sort((a, b) => (key(a) === null) - (key(b) === null) || sign * (key(a) - key(b)));
      const last = Math.max(0, Math.ceil(fits.length / size) - 1);
      page = Math.max(0, Math.min(page, last));
      const shown = fits.slice(page * size, (page + 1) * size);
      body.replaceChildren(...shown.map((row, i) => line(row, i > 0 && shown[i - 1][0] === row[0])));
      box.querySelector(".nomatch").hidden = fits.length > 0;
      place.textContent = fits.length === 0 ? "" : phrase("samples.page", { from: String(page * size + 1),
        to: String(Math.min((page + 1) * size, fits.length)), all: { n: String(fits.length) } });
      previous.disabled = page === 0;
      next.disabled = page === last;
    };
    for (const select of Object.values(picks)) select.addEventListener("change", () => { page = 0; draw(); });
    for (const button of [previous, next]) {
      button.addEventListener("click", () => {
        page += Number(button.dataset.move);
        draw();
        box.scrollIntoView({ block: "start" });
      });
    }
    box.addEventListener("spoken", draw);
    box.querySelector(".filters").hidden = false;
    box.querySelector(".pages").hidden = false;
  }

  for (const figure of all("figure.chart-box")) readable(figure);
  for (const box of all(".browser")) browse(box);
  for (const box of all(".rolls")) roll(box);
  const switches = document.getElementById("switches");
  switches.hidden = false;
  switches.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    if (button.dataset.lang) { store.set("lang", button.dataset.lang); speak(button.dataset.lang); }
    if (button.dataset.theme) { store.set("theme", button.dataset.theme); paint(button.dataset.theme); }
  });
  const theme = store.get("theme");
  paint(["light", "dark"].includes(theme) ? theme : "auto");
  const lang = store.get("lang");
  speak(lang in strings ? lang : root.lang);
})();
