// The desk's keyboard. Every page works without it.
"use strict";
(() => {
  const rows = () => Array.from(document.querySelectorAll("[data-row]"));
  const current = () => document.activeElement && document.activeElement.closest(".row, tr");
  const move = (step) => {
    const all = rows();
    if (!all.length) return;
    const row = current();
    const at = all.findIndex((one) => row && row.contains(one));
    const next = at < 0 ? (step > 0 ? 0 : all.length - 1) : Math.min(Math.max(at + step, 0), all.length - 1);
    all[next].focus();
    all[next].scrollIntoView({ block: "nearest" });
  };
  const begin = (decision) => {
    const form = document.getElementById("verdict");
    if (form) {
      for (const choice of form.elements.namedItem("decision")) choice.checked = choice.value === decision;
      form.elements.namedItem("text").focus();
      return;
    }
    const link = current() && current().querySelector("[data-row]");
    if (link) location.assign(link.getAttribute("href") + "?decide=" + decision);
  };
  const note = () => {
    const field = document.querySelector("form input[name=kind][value=note]");
    if (!field) return;
    field.closest("details").open = true;
    field.form.elements.namedItem("text").focus();
  };
  const choose = () => {
    const box = current() && current().querySelector("input[type=checkbox]");
    if (box) box.checked = !box.checked;
  };
  const keys = {
    j: () => move(1), k: () => move(-1), t: () => begin("true-positive"), f: () => begin("false-positive"), n: note,
    x: choose, u: () => location.assign("/"), "?": () => location.assign("/keys"),
    d: () => { const link = document.querySelector("[data-key=d]"); if (link) location.assign(link.href); },
    "/": () => { const field = document.getElementById("find"); if (field) { field.focus(); field.select(); } },
  };
  document.addEventListener("keydown", (event) => {
    const field = event.target.closest("input:not([type=checkbox]):not([type=radio]), textarea, select");
    if (event.key === "Escape" && field) { field.blur(); return; }
    if (field || event.ctrlKey || event.metaKey || event.altKey || !(event.key in keys)) return;
    event.preventDefault();
    keys[event.key]();
  });
})();
