"use strict";
// The form is made from /contract; every value goes into the page as text, never as markup.

const by = (id) => document.getElementById(id);
const readers = []; // of one column each: () => [column, value or null]

function element(kind, text, attributes = {}) {
  const made = document.createElement(kind);
  if (text) made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

function labelled(parent, text, input, help) {
  const label = element("label", text);
  label.append(input);
  if (help) label.append(element("span", help, { class: "note" }));
  parent.append(label);
  return input;
}

const number = (text, what) => {
  const value = Number(text);
  if (!Number.isFinite(value)) throw new Error(`${what}: ${text} is no number`);
  return value;
};

function moment(text) {
  return /^-?[0-9.eE+-]+$/.test(text) && Number.isFinite(Number(text)) ? Number(text) : text;
}

function addTable(box, name, item) {
  const grid = element("div", "", { class: "grid" });
  for (const column of item.numeric) {
    const limits = item.limits[column];
    const input = labelled(grid, column, element("input", "", { inputmode: "decimal", name: column }),
      limits && `${limits[0]} to ${limits[1]}`);
    readers.push(() => [column, input.value.trim() ? number(input.value, column) : null]);
  }
  for (const [column, levels] of Object.entries(item.categorical)) {
    const select = labelled(grid, column, element("select", "", { name: column }));
    select.append(element("option", "not known", { value: "" }));
    levels.forEach((level, i) => select.append(element("option", level, { value: String(i + 1) })));
    readers.push(() => [column, select.value ? levels[Number(select.value) - 1] : null]);
  }
  box.append(grid);
}

function addSeries(box, name, item, timeZero) {
  // a gridded series has variables with the texts of their levels, none for a number
  const levels = Array.isArray(item.variables) ? Object.fromEntries(item.variables.map((own) => [own, []])) : item.variables;
  const variables = Object.keys(levels);
  const unit = timeZero ? `on the clock of ${timeZero}` : `in ${item.unit}, 0 is now, negative is before`;
  const area = labelled(box, "One measurement per line: time, variable, value",
    element("textarea", "", { name, spellcheck: "false" }),
    `Time ${unit}. Variables: ${variables.map((own) => own + (levels[own].length ? ` (${levels[own].join(" | ")})` : "")).join(", ")}.`);
  area.placeholder = `-1, ${variables.find((own) => !levels[own].length) || variables[0]}, 1.5`;
  readers.push(() => {
    const lines = area.value.split("\n").map((line) => line.trim()).filter(Boolean);
    const records = lines.map((line) => {
      const [time, variable, value] = line.split(",").map((part) => part.trim());
      if (value === undefined || !variables.includes(variable)) {
        throw new Error(`${name}: “${line}” is not time, variable, value with one of ${variables.join(", ")}`);
      }
      return { time: moment(time), [variable]: levels[variable].length ? value : number(value, variable) };
    });
    return [item.column || name, records.length ? records : null];
  });
}

function addText(box, name, item) {
  const area = labelled(box, item.documents > 1 ? "Texts, a line of --- between them" : "Text",
    element("textarea", "", { name }));
  readers.push(() => {
    const texts = (item.documents > 1 ? area.value.split(/^---+$/m) : [area.value]).filter((t) => t.trim());
    return [item.column || name, texts.length ? texts : null];
  });
}

function addImage(box, name, item) {
  const input = labelled(box, "Picture", element("input", "", { type: "file", accept: "image/*", name }));
  readers.push(async () => {
    const file = input.files[0];
    if (!file) return [item.column || name, null];
    const url = await new Promise((done, fail) => {
      const reader = new FileReader();
      reader.onload = () => done(reader.result);
      reader.onerror = () => fail(new Error(`${name}: the file cannot be read`));
      reader.readAsDataURL(file);
    });
    return [item.column || name, url.slice(url.indexOf(",") + 1)];
  });
}

function addMoment(box, column) {
  const input = labelled(box, column, element("input", "", { name: column }), "a number, or 2024-05-01T08:00:00");
  readers.push(() => [column, input.value.trim() ? moment(input.value.trim()) : null]);
}

const KINDS = { table: addTable, series: addSeries, grid: addSeries, text: addText, image: addImage };

function build(contract) {
  by("about").textContent = `${contract.model} predicts “${contract.label}”` +
    (contract.horizon_days ? ` within ${contract.horizon_days} days.` : ".");
  if (contract.time_zero) {
    const box = element("fieldset");
    box.append(element("legend", "Moment of prediction"));
    addMoment(box, contract.time_zero);
    by("fields").append(box);
  }
  for (const [name, item] of Object.entries(contract.modalities)) {
    const box = element("fieldset");
    box.append(element("legend", name));
    KINDS[item.kind](box, name, item, contract.time_zero);
    if (item.time) addMoment(box, item.time);
    by("fields").append(box);
  }
  by("patient").hidden = false;
}

const percent = (value) => `${(100 * value).toFixed(1)} %`;

function show(...parts) {
  by("answer").replaceChildren(...parts);
}

function answered(found) {
  const several = found.probability !== null && typeof found.probability === "object";
  const outputs = several ? Object.keys(found.probability) : [null];
  const parts = [];
  for (const output of outputs) {
    const of = (kind) => (output === null ? found[kind] : found[kind][output]);
    const said = of("probability") === null ? "no probability" : percent(of("probability"));
    parts.push(element("p", output === null ? said : `${output}: ${said}`, { class: "big" }));
    if (of("low") !== null && found.imputed.length) {
      parts.push(element("p", `${percent(of("low"))} to ${percent(of("high"))}, depending on what is missing`));
    }
  }
  parts.push(element("p", `Observed: ${found.observed.join(", ") || "nothing"}.` +
    (found.imputed.length ? ` Imputed: ${found.imputed.join(", ")}.` : "")));
  parts.push(...found.warnings.map((text) => element("p", text, { class: "warn" })));
  show(...parts);
}

async function submit(event) {
  event.preventDefault();
  show(element("p", "…", { class: "note" }));
  try {
    const pairs = await Promise.all(readers.map(async (read) => read()));
    const row = Object.fromEntries(pairs.filter(([, value]) => value !== null));
    const response = await fetch("/predict", {
      method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(row),
    });
    const found = await response.json();
    if (response.ok) return answered(found);
    const detail = Array.isArray(found.detail) ? found.detail : [{ where: "", reason: found.detail }];
    show(...detail.map((own) => element("p", `${own.where ? own.where + ": " : ""}${own.reason}`, { class: "warn" })));
  } catch (error) {
    show(element("p", error.message, { class: "warn" }));
  }
}

by("patient").addEventListener("submit", submit);
by("patient").addEventListener("reset", () => show(element("p", "None yet.", { class: "note" })));
fetch("/contract").then((response) => response.json()).then(build).catch(() => {
  by("about").textContent = "The server does not answer.";
});
