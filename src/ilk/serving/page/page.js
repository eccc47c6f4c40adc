"use strict";
// The page of "ilk serve". No library; every string is inserted as text, never as HTML.

const AT_ONCE = 4; // requests
const get = (id) => document.getElementById(id);
const rows = []; // one per picture, in the order on the page
const queue = [];
let busy = 0;
let key = sessionStorage.getItem("ilk-key") || "";
let about = { models: [], feedback: false };

async function call(path, options = {}) {
  const headers = key ? { Authorization: `Bearer ${key}` } : {};
  return fetch(path, { ...options, headers });
}

async function start() {
  let response;
  try {
    response = await call("/about");
  } catch {
    get("about").textContent = "The server is not responding.";
    return;
  }
  get("login").hidden = response.status !== 401;
  get("drop").hidden = response.status === 401;
  if (response.status === 401) {
    if (key) get("login-error").textContent = "Wrong key.";
    get("key").focus();
    return;
  }
  about = await response.json();
  if (!about.models.length) {
    get("about").textContent = "Loading the models …";
    setTimeout(start, 1000);
    return;
  }
  const select = get("model");
  const previous = select.options.length ? select.selectedIndex : null; // before a reload
  select.replaceChildren(...about.models.map((m, i) => new Option(`${m.name} ${m.version}`, i)));
  // The default of the API: the first name, in its last version.
  const preset = about.models.findLastIndex((model) => model.name === about.models[0].name);
  select.selectedIndex = previous ?? preset;
  get("model-choice").hidden = about.models.length < 2;
  get("stores").hidden = !about.feedback;
  get("limits").textContent =
    `${about.formats.join(", ")}, up to ${about.megabytes} MB each. Several at once are fine.`;
  describe();
}

function describe() {
  const { name, version, classes } = chosen();
  const some = classes.slice(0, 6).join(", ") + (classes.length > 6 ? ", …" : "");
  get("about").textContent = `Model ${name}, version ${version}, ${classes.length} classes: ${some}`;
}

const chosen = () => about.models[get("model").value || 0];

const query = (model, more = {}) =>
  new URLSearchParams({ model: model.name, version: model.version, ...more });

// Call the model that a picture was sent to. After a reload that version may be gone: then call the
// one that replaced it.
async function callFor(row, path, more, options) {
  const response = await call(`${path}?${query(row.model, more)}`, options);
  if (response.status !== 404) return response;
  await start();
  const now = about.models.find((model) => model.name === row.model.name);
  if (!now || now.version === row.model.version) return response;
  row.model = now;
  return call(`${path}?${query(now, more)}`, options);
}

function add(files) {
  for (const file of files) {
    const card = get("card").content.firstElementChild.cloneNode(true);
    const row = { file, card, model: chosen(), answer: null };
    card.classList.add("waiting");
    card.querySelector(".file").textContent = file.name;
    const own = card.querySelector(".own");
    own.src = URL.createObjectURL(file);
    own.alt = file.name; // until it is classified
    own.onerror = () => (own.hidden = true);
    rows.push(row);
    queue.push(row);
    get("cards").append(card);
  }
  get("answers").hidden = rows.length === 0;
  document.body.classList.toggle("has-answers", rows.length > 0);
  summarise();
  next();
}

function next() {
  while (busy < AT_ONCE && queue.length) {
    busy += 1;
    const row = queue.shift();
    classify(row)
      .catch(() => fail(row, "The server is not responding."))
      .finally(() => {
        busy -= 1;
        row.card.classList.remove("waiting");
        summarise();
        next();
      });
  }
}

async function classify(row) {
  const form = new FormData();
  form.append("image", row.file);
  const send = () => callFor(row, "/predict", { top: 5 }, { method: "POST", body: form });
  let response = await send();
  while (response.status === 429) {
    await new Promise((done) => setTimeout(done, 1000 * (response.headers.get("retry-after") || 1)));
    response = await send();
  }
  const found = await response.json();
  if (!found.predictions) return fail(row, found.detail || `The server answered with status ${response.status}.`);
  row.answer = found.predictions[0];
  if (row.answer.error) return fail(row, row.answer.error);
  show(row);
}

function fail(row, reason) {
  row.answer = { error: reason };
  row.card.classList.add("failed");
  row.card.querySelector(".own").hidden = true;
  row.card.querySelector(".label").textContent = reason;
}

function show(row) {
  const { card, answer, model } = row;
  const heading = card.querySelector(".label");
  const share = make("span", "", ` ${percent(answer.probability)}`);
  if (answer.unknown) heading.replaceChildren("Unknown");
  else if (answer.accepted === false) heading.replaceChildren("Not sure: ", answer.label, share);
  else heading.replaceChildren(answer.label, share);
  card.classList.toggle("uncertain", answer.unknown || answer.accepted === false);
  card.querySelector(".own").alt = `${row.file.name}: ${heading.textContent}`;
  card.querySelector(".note").textContent = answer.unknown
    ? "Unlike anything in the training data: the classes below are guesses."
    : answer.accepted === false
      ? "Below the model’s threshold."
      : "";
  card.querySelector(".ranks").replaceChildren(...answer.top.map(rank));
  if (model.explains) offerExplanation(row);
  if (about.feedback) offerCorrection(row);
}

function rank({ label, probability }) {
  const item = document.createElement("li");
  const meter = document.createElement("meter");
  meter.value = probability;
  meter.setAttribute("aria-hidden", "true");
  item.append(make("span", "name", label), make("span", "share", percent(probability)), meter);
  return item;
}

function offerExplanation(row) {
  const heat = row.card.querySelector(".heat");
  const button = row.card.querySelector(".explain");
  let loading = null;
  const load = () =>
    (loading ??= callFor(row, "/explain", { label: row.answer.label }, {
      method: "POST", body: row.file,
    }).then(async (response) => {
      if (!response.ok) throw new Error(response.status);
      heat.src = URL.createObjectURL(await response.blob());
      heat.alt = `Heat map of what supports ${row.answer.label}`;
      await heat.decode();
    }));
  let pinned = false; // by the button; hovering shows it for a moment
  let over = false;
  const turn = async () => {
    const on = pinned || over;
    button.setAttribute("aria-pressed", pinned);
    if (!on) {
      heat.hidden = true;
      return;
    }
    if (!heat.src) button.textContent = "Loading …";
    try {
      await load();
      button.textContent = "Show why";
      heat.hidden = !(pinned || over);
    } catch {
      loading = null;
      button.textContent = "Not available right now";
    }
  };
  button.hidden = false;
  button.onclick = () => turn((pinned = !pinned));
  const picture = row.card.querySelector(".picture");
  const hover = (on) => (event) => event.pointerType === "mouse" && turn((over = on));
  picture.onpointerenter = hover(true);
  picture.onpointerleave = hover(false);
}

function offerCorrection(row) {
  const box = row.card.querySelector(".wrong");
  const open = box.querySelector(".open");
  const form = box.querySelector("form");
  const select = form.querySelector("select");
  const others = row.model.classes.filter((name) => name !== row.answer.label);
  select.replaceChildren(...others.map((name) => new Option(name)));
  box.hidden = false;
  open.onclick = () => {
    form.hidden = !form.hidden;
    open.setAttribute("aria-expanded", !form.hidden);
    if (!form.hidden) select.focus();
  };
  form.onsubmit = async (event) => {
    event.preventDefault();
    const sent = new FormData();
    sent.append("image", row.file);
    sent.append("label", select.value);
    sent.append("predicted", row.answer.label);
    const thanks = box.querySelector(".thanks");
    try {
      const response = await callFor(row, "/feedback", {}, { method: "POST", body: sent });
      if (!response.ok) throw new Error((await response.json()).detail);
      thanks.textContent = `Saved as ${select.value}. Thank you.`;
      row.answer.corrected = select.value;
      form.hidden = open.hidden = true;
    } catch (error) {
      thanks.textContent = `Not saved: ${error.message}`;
    }
  };
}

function summarise() {
  const done = rows.filter((row) => row.answer);
  const counts = new Map();
  let failed = 0;
  for (const { answer } of done) {
    const name = answer.unknown ? "unknown" : answer.accepted ? answer.label : "not sure";
    if (answer.error) failed += 1;
    else counts.set(name, (counts.get(name) || 0) + 1);
  }
  const parts = [...counts].sort((a, b) => b[1] - a[1]).map(([name, n]) => `${n} ${name}`);
  if (failed) parts.push(`${failed} could not be read`);
  const left = rows.length - done.length;
  if (left) parts.push(`${left} pending`);
  const noun = rows.length === 1 ? "picture" : "pictures";
  get("summary").textContent = `${rows.length} ${noun}: ${parts.join(", ")}`;
}

function save() {
  const cell = (value) => `"${String(value ?? "").replaceAll('"', '""')}"`;
  const names = ["path", "label", "probability", "accepted", "unknown", "corrected", "error"];
  const lines = rows.filter((row) => row.answer).map(({ file, answer }) =>
    names.map((name) => cell(name === "path" ? file.name : answer[name])).join(","));
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([[names.join(","), ...lines].join("\n") + "\n"]));
  link.download = "predictions.csv";
  link.click();
}

function clear() {
  for (const { card } of rows)
    for (const image of card.querySelectorAll("img")) URL.revokeObjectURL(image.src);
  rows.length = queue.length = 0;
  get("cards").replaceChildren();
  add([]);
  get("choose").focus();
}

const percent = (share) => `${(100 * share).toFixed(share < 0.9995 ? 1 : 0)} %`;

function make(tag, kind, text) {
  const element = document.createElement(tag);
  element.className = kind;
  element.textContent = text;
  return element;
}

get("choose").onclick = () => get("files").click();
get("photograph").onclick = () => get("camera").click();
for (const id of ["files", "camera"])
  get(id).onchange = (event) => {
    add(event.target.files);
    event.target.value = "";
  };
get("model").onchange = () => {
  const files = rows.map((row) => row.file);
  clear();
  describe();
  add(files);
  get("model").focus();
};
get("save").onclick = save;
get("clear").onclick = clear;
get("login").onsubmit = (event) => {
  event.preventDefault();
  key = get("key").value;
  sessionStorage.setItem("ilk-key", key);
  start();
};
let depth = 0; // of the elements that are being dragged over
document.ondragenter = () => get("drop").classList.toggle("over", ++depth > 0);
document.ondragleave = () => get("drop").classList.toggle("over", --depth > 0);
document.ondragover = (event) => event.preventDefault();
document.ondrop = (event) => {
  event.preventDefault();
  depth = 0;
  get("drop").classList.remove("over");
  if (about.models.length) add(event.dataTransfer.files);
};
document.onpaste = (event) => {
  if (about.models.length && event.clipboardData.files.length) add(event.clipboardData.files);
};
start();
