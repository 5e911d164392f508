"use strict";
// The page of `--page`: the text of a live session, as it is said. The server is output/live_page.py, which has the
// events. What is said becomes text nodes only, and parameters of the URL only numbers, colours and names in the style.

const byId = (id) => document.getElementById(id);
const settled = byId("settled"), partial = byId("partial"), captions = byId("captions"), note = byId("note");
const root = document.documentElement;
const RETRY_MS = 3000, MAX_LINES = 5000;

const number = (low, high) => (text) => /^\d{1,4}$/.test(text) && low <= +text && +text <= high;
const colour = (text) => /^(#[0-9a-f]{3,8}|[a-z]{3,24})$/i.test(text) && CSS.supports("color", text);
const oneOf = (...values) => (text) => values.includes(text);

const settings = { lines: 0, partials: true, note: true, hide: 0 };
// Parameter: whether a value is right, and what it does.
const PARAMETERS = {
  lines: [number(1, 50), (text) => {
    settings.lines = +text;
    root.style.setProperty("--lines", text);
    root.classList.add("captions");
  }],
  size: [number(8, 400), (text) => root.style.setProperty("--size", `${text}px`)],
  colour: [colour, (text) => { root.style.color = text; }],
  background: [colour, (text) => { (settings.lines ? captions : root).style.background = text; }],
  outline: [colour, (text) => root.style.setProperty("--outline", text)],
  font: [(text) => /^[\p{L}\p{N} _-]{1,60}$/u.test(text), (text) => { document.body.style.fontFamily = `"${text}", sans-serif`; }],
  align: [oneOf("left", "center", "right"), (text) => { captions.style.textAlign = text; }],
  hide: [number(1, 3600), (text) => { settings.hide = +text; }],
  partials: [oneOf("on", "off"), (text) => { settings.partials = text === "on"; }],
  note: [oneOf("on", "off"), (text) => { settings.note = text === "on"; }],
};

const given = new URLSearchParams(location.search);
if (given.has("color") && !given.has("colour")) given.set("colour", given.get("color"));
const ignored = [];
for (const [name, [isRight, apply]] of Object.entries(PARAMETERS)) {
  if (!given.has(name)) continue;
  if (isRight(given.get(name))) apply(given.get(name));
  else ignored.push(name);
}

function say(sentence) {
  const wrong = ignored.length ? `not understood: ${ignored.join(", ")}` : "";
  note.textContent = settings.note ? [sentence, wrong].filter(Boolean).join("; ") : "";
}

let hiding;
function show() {
  root.classList.remove("silent");
  clearTimeout(hiding);
  if (settings.hide) hiding = setTimeout(() => root.classList.add("silent"), 1000 * settings.hide);
}

/** Change the text. A page that is scrolled to its end stays there. */
function change(apply) {
  const atEnd = root.scrollHeight - root.scrollTop - root.clientHeight < 40;
  apply();
  if (atEnd) root.scrollTop = root.scrollHeight;
}

function add(text) {
  const line = document.createElement("p");
  line.dir = "auto";
  line.textContent = text;
  settled.append(line);
  // Some lines more than are shown, so that there are enough after dropping some.
  while (settled.childElementCount > (settings.lines ? settings.lines + 20 : MAX_LINES)) settled.firstElementChild.remove();
}

let hasEnded = false;
const EVENTS = {
  reset: ({ lines }) => change(() => {
    settled.replaceChildren();
    lines.slice(settings.lines ? -settings.lines - 20 : 0).forEach(add);
    if (lines.length) show();
  }),
  segment: ({ text }) => change(() => { add(text); show(); }),
  partial: ({ text }) => change(() => {
    partial.textContent = settings.partials ? text : "";
    if (partial.textContent) show();
  }),
  end: () => { hasEnded = true; },
};

function connect() {
  const source = new EventSource("events");
  source.onopen = () => { hasEnded = false; say(""); };
  source.onerror = () => {
    say(hasEnded ? "ended" : "not connected");
    // The browser reconnects by itself, except when it was refused: as by a session with another token.
    if (source.readyState === EventSource.CLOSED) setTimeout(connect, RETRY_MS);
  };
  for (const [name, apply] of Object.entries(EVENTS)) source.addEventListener(name, (event) => apply(JSON.parse(event.data)));
}

say("connecting");
connect();
