"use strict";
/* Sorting, filtering and tooltips of the report and the local page. Without it everything still stands there to read.

   table.sortable               its header cells become buttons: up, down, as it was. A cell's data-value goes before
                                its text; data-sort="no" on a header cell leaves the column out.
   input[data-filter="#id"]     keeps the rows of that table which hold every word; its hidden wrapper is shown.
   output[data-count="#id"]     says how many rows are left.
   [data-tip], or a title in a part of a picture: a tooltip under the pointer and under the keyboard's focus. The tips
                                of one picture or table are one stop of the tab key; arrow keys go from one to the next.
                                (The title of a whole picture is its name, not a tip.)
   smidgen.dress(element)       does all this to content that came later. Doing it twice does no harm. */
(() => {
  const all = (root, what) => [...(root.matches?.(what) ? [root] : []), ...root.querySelectorAll(what)];
  const tip = Object.assign(document.createElement("div"), { id: "tip", hidden: true });
  tip.setAttribute("role", "tooltip");
  let shown = null;
  let leaving = 0;

  function value(row, column) {
    const cell = row.cells[column];
    return cell ? (cell.dataset.value ?? cell.textContent).trim() : "";
  }

  const plain = (text) => text.replace(/\u2212/g, "-").replace(/[,\s%]/g, "");
  const isNumber = (text) => plain(text) !== "" && Number.isFinite(Number(plain(text)));

  function sortable(table) {
    const head = table.tHead?.rows[0];
    const body = table.tBodies[0];
    if (!head || !body || table.dataset.dressed) return;
    table.dataset.dressed = "yes";
    const given = [...body.rows];
    [...head.cells].forEach((cell, column) => {
      if (cell.dataset.sort === "no" || !cell.textContent.trim()) return;
      const button = document.createElement("button");
      button.type = "button";
      button.append(...cell.childNodes);
      cell.append(button);
      button.addEventListener("click", () => {
        const next = { ascending: "descending", descending: null }[cell.getAttribute("aria-sort")];
        [...head.cells].forEach((other) => other.removeAttribute("aria-sort"));
        const way = next === undefined ? "ascending" : next;
        if (way) cell.setAttribute("aria-sort", way);
        body.append(...(way ? sorted(given, column, way === "ascending" ? 1 : -1) : given));
      });
    });
  }

  function sorted(rows, column, sign) {
    const filled = rows.filter((row) => !["", "\u2013"].includes(value(row, column))); // the others come last
    const numbers = filled.every((row) => isNumber(value(row, column)));
    filled.sort((a, b) => {
      const [x, y] = [value(a, column), value(b, column)];
      return sign * (numbers ? plain(x) - plain(y) : x.localeCompare(y, undefined, { numeric: true }));
    });
    return [...filled, ...rows.filter((row) => !filled.includes(row))];
  }

  function filter(input) {
    const table = document.querySelector(input.dataset.filter);
    if (!table || input.dataset.dressed) return;
    input.dataset.dressed = "yes";
    input.closest("[hidden]")?.removeAttribute("hidden");
    input.addEventListener("input", () => {
      const words = input.value.toLowerCase().split(/\s+/);
      const rows = [...table.tBodies].flatMap((body) => [...body.rows]);
      rows.forEach((row) => {
        const text = row.textContent.toLowerCase();
        row.hidden = !words.every((word) => text.includes(word));
      });
      const left = rows.filter((row) => !row.hidden).length;
      const count = `output[data-count="${input.dataset.filter}"]`;
      document.querySelectorAll(count).forEach((out) => (out.textContent = `${left} of ${rows.length}`));
    });
  }

  function tips(root) {
    for (const title of root.querySelectorAll("svg title")) {
      const part = title.parentNode;
      part.setAttribute("aria-label", title.textContent);
      if (part.ownerSVGElement) part.dataset.tip = title.textContent;
      title.remove();
    }
    for (const mark of all(root, "[data-tip]")) {
      if (mark.hasAttribute("tabindex") || mark.tabIndex >= 0) continue; // links and buttons are stops already
      const place = group(mark);
      mark.setAttribute("tabindex", place?.querySelector("[data-tip][tabindex='0']") ? "-1" : "0");
      if (!(mark instanceof SVGElement)) continue;
      mark.setAttribute("role", "img");
      if (!mark.hasAttribute("aria-label")) mark.setAttribute("aria-label", mark.dataset.tip);
      mark.ownerSVGElement?.setAttribute("role", "group"); // a picture with parts to visit is no longer one image
    }
  }

  const group = (mark) => mark.closest("table") ?? mark.closest("svg");

  function show(mark) {
    if (!mark) return;
    clearTimeout(leaving);
    if (mark === tip) return;
    shown = mark;
    tip.textContent = mark.dataset.tip;
    tip.hidden = false;
    const at = mark.getBoundingClientRect();
    const middle = (at.left + at.right - tip.offsetWidth) / 2;
    const above = at.top - tip.offsetHeight - 7;
    tip.style.left = `${Math.max(8, Math.min(middle, document.documentElement.clientWidth - tip.offsetWidth - 8))}px`;
    tip.style.top = `${above > 4 ? above : at.bottom + 7}px`;
    if (!(mark instanceof SVGElement)) mark.setAttribute("aria-describedby", "tip");
  }

  function hide() {
    clearTimeout(leaving);
    shown?.removeAttribute("aria-describedby");
    shown = null;
    tip.hidden = true;
  }

  function move(event) {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1, Home: -Infinity, End: Infinity }[event.key];
    const mark = event.target.closest?.("[data-tip]");
    const place = mark && group(mark);
    if (event.key === "Escape") hide();
    if (!step || !place || event.target !== mark || !mark.hasAttribute("tabindex")) return;
    const marks = [...place.querySelectorAll("[data-tip][tabindex]")].filter((one) => one.getClientRects().length);
    const next = marks[Math.max(0, Math.min(marks.length - 1, marks.indexOf(mark) + step))];
    mark.setAttribute("tabindex", "-1");
    next.setAttribute("tabindex", "0");
    next.focus();
    event.preventDefault();
  }

  function dress(root) {
    all(root, "table.sortable").forEach(sortable);
    all(root, "input[data-filter]").forEach(filter);
    tips(root);
  }

  function start() {
    document.body.append(tip);
    document.addEventListener("pointerover", (event) => show(event.target.closest("[data-tip], #tip")));
    document.addEventListener("pointerout", () => (leaving = setTimeout(hide, 150)));
    document.addEventListener("focusin", (event) => show(event.target.closest("[data-tip]")));
    document.addEventListener("focusout", hide);
    document.addEventListener("keydown", move);
    document.addEventListener("scroll", () => show(shown), true);
    dress(document);
  }

  window.smidgen = { dress };
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
