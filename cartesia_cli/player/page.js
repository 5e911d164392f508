"use strict";
// The page that `-f html` writes: a transcript with a player. Times are in seconds here, in milliseconds in the data.
// Words are not elements: the page would be slow with 100,000 of them. A word is a range of the text of its paragraph;
// what is highlighted is a Range in a Highlight (CSS Custom Highlight API).

const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const audio = byId("audio"), canvas = byId("waveform"), main = byId("transcript"), query = byId("query");
const SKIP_SECONDS = 5;

// Words, in the order of the text: their paragraph, offset, length, start and end.
const paragraphs = [...main.children].map((element) => ({ element, node: element.querySelector(".words").firstChild }));
const words = [], firstWord = [];
data.words.forEach((numbers, paragraph) => {
  firstWord.push(words.length);
  for (let i = 0; i < numbers.length; i += 4) {
    words.push({ paragraph, offset: numbers[i], length: numbers[i + 1], start: numbers[i + 2] / 1000, end: numbers[i + 3] / 1000 });
  }
});
firstWord.push(words.length);
// Words by their start: those of several speakers may overlap, so that text isn't in the order of time.
let byTime = [];
function sortByTime() { byTime = words.map((_, i) => i).sort((a, b) => words[a].start - words[b].start || a - b); }
sortByTime();

const highlights = { now: new Highlight(), hit: new Highlight() };
highlights.now.priority = 1;
CSS.highlights.set("now", highlights.now);
CSS.highlights.set("hit", highlights.hit);

function rangeOf(paragraph, offset, length) {
  const range = new Range(), node = paragraphs[paragraph].node;
  range.setStart(node, offset);
  range.setEnd(node, offset + length);
  return range;
}

/** The index of the first word of a paragraph that ends after an offset; -1 if none does. */
function wordAfter(paragraph, offset) {
  for (let i = firstWord[paragraph]; i < firstWord[paragraph + 1]; i++) {
    if (words[i].offset + words[i].length > offset) return i;
  }
  return -1;
}

function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds)), minutes = Math.floor(whole / 60);
  const rest = String(whole % 60).padStart(2, "0");
  return minutes < 60 ? `${minutes}:${rest}` : `${Math.floor(minutes / 60)}:${String(minutes % 60).padStart(2, "0")}:${rest}`;
}

function tell(message) { byId("status").textContent = message; }

// The player ---------------------------------------------------------------------------------------------------

let position = 0; // in seconds; without a recording, where the player would be
const length = () => Number.isFinite(audio.duration) ? audio.duration : data.duration;
const hasAudio = () => Boolean(audio.currentSrc || audio.src);

function seek(seconds, { play = false } = {}) {
  position = Math.min(Math.max(0, seconds), length() || 0);
  if (hasAudio()) {
    audio.currentTime = position;
    if (play) audio.play().catch(() => tell("The browser can't play this recording."));
  }
  following = true;
  update();
}

function toggle() {
  if (!hasAudio()) tell("Choose the recording to play it.");
  else if (audio.paused) audio.play().catch(() => tell("The browser can't play this recording."));
  else audio.pause();
}

function changeSpeed(step) {
  const choice = byId("speed");
  choice.selectedIndex = Math.min(Math.max(0, choice.selectedIndex + step), choice.options.length - 1);
  audio.playbackRate = Number(choice.value);
}

/** The index in byTime of the last word that has begun at a time; -1 before the first. */
function begunAt(seconds) {
  let low = 0, high = byTime.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (words[byTime[middle]].start <= seconds + 0.001) low = middle + 1; else high = middle;
  }
  return low - 1;
}

let current = -1, following = true;

function update() {
  const at = begunAt(position), next = at < 0 ? -1 : byTime[at];
  if (next !== current) {
    current = next;
    highlights.now.clear();
    if (current >= 0) {
      const word = words[current], range = rangeOf(word.paragraph, word.offset, word.length);
      highlights.now.add(range);
      if (following) keepInView(range, paragraphs[word.paragraph].element);
    }
  }
  byId("clock").textContent = `${clock(position)} / ${clock(length() || 0)}`;
  canvas.setAttribute("aria-valuenow", String(Math.round(position)));
  canvas.setAttribute("aria-valuetext", clock(position));
  byId("follow").hidden = following;
  draw();
}

const calm = matchMedia("(prefers-reduced-motion: reduce)");

function keepInView(range, element) {
  const top = byId("player").hidden ? 0 : byId("player").offsetHeight;
  let box = range.getBoundingClientRect();
  if (!box.height) { // its paragraph isn't laid out yet
    element.scrollIntoView({ block: "center" });
    box = range.getBoundingClientRect();
  }
  if (box.top < top + 16 || box.bottom > innerHeight - 48) {
    scrollBy({ top: box.top - top - (innerHeight - top) / 3, behavior: calm.matches ? "auto" : "smooth" });
  }
}

function everyFrame() {
  position = audio.currentTime;
  update();
  if (!audio.paused) requestAnimationFrame(everyFrame);
}

audio.addEventListener("play", () => {
  byId("play").textContent = "Pause";
  requestAnimationFrame(everyFrame);
});
audio.addEventListener("pause", () => { byId("play").textContent = "Play"; });
audio.addEventListener("seeked", () => { position = audio.currentTime; update(); });
audio.addEventListener("loadedmetadata", () => {
  byId("choose").hidden = true;
  canvas.setAttribute("aria-valuemax", String(Math.round(length())));
  if (position) audio.currentTime = position;
  update();
});
audio.addEventListener("error", () => {
  byId("choose").hidden = false;
  tell("The recording has moved, or this browser can't play it. Choose the file to play it from your disk.");
});

byId("play").addEventListener("click", toggle);
byId("back").addEventListener("click", () => seek(position - SKIP_SECONDS));
byId("forward").addEventListener("click", () => seek(position + SKIP_SECONDS));
byId("speed").addEventListener("change", () => changeSpeed(0));
byId("follow").addEventListener("click", () => { following = true; current = -1; update(); });
byId("file").addEventListener("change", (event) => {
  const [chosen] = event.target.files;
  if (chosen) { audio.src = URL.createObjectURL(chosen); tell(""); }
});
for (const kind of ["wheel", "touchmove"]) {
  addEventListener(kind, () => { if (!audio.paused) { following = false; byId("follow").hidden = false; } }, { passive: true });
}

function openRecording() {
  const { media } = data;
  if (media.embedded) {
    const bytes = Uint8Array.from(atob(media.embedded), (letter) => letter.charCodeAt(0));
    audio.src = URL.createObjectURL(new Blob([bytes], { type: media.type }));
  } else if (media.link) audio.src = media.link;
  else byId("choose").hidden = false;
}

// The waveform: loudness, the cues of the subtitles below it, hits above it, and the position ------------------

const peaks = Uint8Array.from(atob(data.peaks.values), (letter) => letter.charCodeAt(0));
let colours = {}, levels = [], levelsOf = 0;

/** How loud each column of the waveform is, 0 to 1; without a recording, where somebody speaks. */
function levelsAt(width, total) {
  const found = new Array(width).fill(0.01);
  const raise = (from, to, level) => {
    for (let column = Math.max(0, Math.floor(from / total * width)); column <= Math.min(width - 1, Math.floor(to / total * width)); column++) {
      found[column] = Math.max(found[column], level);
    }
  };
  if (peaks.length) peaks.forEach((peak, i) => raise(i * data.peaks.step, (i + 1) * data.peaks.step - 0.001, peak / 255));
  else for (const word of words) raise(word.start, word.end, 0.5);
  return found;
}

function readColours() {
  const style = getComputedStyle(document.documentElement);
  colours = Object.fromEntries(["speech", "played", "cue", "accent"].map((name) => [name, style.getPropertyValue(`--${name}`)]));
}

function draw() {
  const ratio = devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
  if (!width) return;
  if (canvas.width !== Math.round(width * ratio)) { canvas.width = Math.round(width * ratio); canvas.height = Math.round(height * ratio); }
  const pen = canvas.getContext("2d"), total = length() || 1, x = (seconds) => seconds / total * width;
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  const middle = height / 2 - 4, half = height / 2 - 12;
  pen.fillStyle = colours.cue;
  for (const [start, end] of data.cues) pen.fillRect(x(start / 1000), height - 8, Math.max(1, x((end - start) / 1000) - 0.5), 8);
  if (levels.length !== Math.ceil(width) || levelsOf !== total) { levels = levelsAt(Math.ceil(width), total); levelsOf = total; }
  const played = x(position);
  levels.forEach((level, column) => {
    pen.fillStyle = column < played ? colours.played : colours.speech;
    pen.fillRect(column, middle - level * half, 1, 2 * level * half);
  });
  pen.fillStyle = colours.accent;
  for (const hit of hits) pen.fillRect(x(hit.start) - 1, 0, 2, 7);
  pen.fillRect(x(position) - 1, 0, 2, height);
}

function seekToPointer(event) {
  const box = canvas.getBoundingClientRect();
  seek((event.clientX - box.left) / box.width * (length() || 0));
}
canvas.addEventListener("pointerdown", (event) => { canvas.setPointerCapture(event.pointerId); seekToPointer(event); });
canvas.addEventListener("pointermove", (event) => { if (canvas.hasPointerCapture(event.pointerId)) seekToPointer(event); });
new ResizeObserver(draw).observe(canvas);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { readColours(); draw(); });

// The text: a click plays from a word ---------------------------------------------------------------------------

function wordAtPoint(x, y) {
  let node, offset;
  if (document.caretPositionFromPoint) {
    const caret = document.caretPositionFromPoint(x, y);
    if (caret) ({ offsetNode: node, offset } = caret);
  } else {
    const range = document.caretRangeFromPoint(x, y);
    if (range) ({ startContainer: node, startOffset: offset } = range);
  }
  const paragraph = paragraphs.findIndex((one) => one.node === node);
  return paragraph < 0 ? -1 : wordAfter(paragraph, offset - 1);
}

main.addEventListener("click", (event) => {
  const link = event.target.closest(".at");
  if (link) return; // the URL's fragment changes, and with it the position
  if (!event.target.closest(".words") || !getSelection().isCollapsed) return;
  const found = wordAtPoint(event.clientX, event.clientY);
  if (found >= 0) takeWord(found);
});

function playFrom(word) { seek(words[word].start, { play: true }); }
let takeWord = playFrom; // what a click on a word does

function stepWord(step) {
  const at = begunAt(position);
  const target = step < 0 && at >= 0 && position - words[byTime[at]].start > 0.3 ? at : at + step;
  if (byTime[target] !== undefined) seek(words[byTime[target]].start);
}

function stepParagraph(step) {
  const firsts = paragraphs.map((_, k) => firstWord[k] < firstWord[k + 1] ? words[firstWord[k]].start : null).filter((start) => start !== null);
  const later = step > 0 ? firsts.find((start) => start > position + 0.01) : firsts.filter((start) => start < position - 0.5).at(-1);
  if (later !== undefined) seek(later);
}

// Search ---------------------------------------------------------------------------------------------------------

let hits = [], chosen = -1;

function search() {
  const wanted = query.value.toLowerCase();
  hits = [];
  highlights.hit.clear();
  if (wanted.trim()) {
    paragraphs.forEach(({ node }, paragraph) => {
      const text = node.data.toLowerCase();
      if (text.length !== node.data.length) return; // not searched: a letter has another length in lower case, and offsets would be wrong
      for (let at = text.indexOf(wanted); at >= 0; at = text.indexOf(wanted, at + wanted.length)) {
        const word = wordAfter(paragraph, at);
        hits.push({ paragraph, offset: at, length: wanted.length, start: word < 0 ? 0 : words[word].start });
        highlights.hit.add(rangeOf(paragraph, at, wanted.length));
      }
    });
  }
  chosen = -1;
  byId("hits").textContent = wanted.trim() ? (hits.length === 1 ? "1 match" : `${hits.length} matches`) : "";
  byId("previous").disabled = byId("next").disabled = !hits.length;
  draw();
}

function goToHit(step) {
  if (!hits.length) return;
  chosen = (chosen + step + hits.length) % hits.length;
  const hit = hits[chosen];
  byId("hits").textContent = `${chosen + 1} of ${hits.length}`;
  seek(hit.start);
  keepInView(rangeOf(hit.paragraph, hit.offset, hit.length), paragraphs[hit.paragraph].element);
}

query.addEventListener("input", search);
query.addEventListener("keydown", (event) => {
  if (event.key === "Enter") { event.preventDefault(); goToHit(event.shiftKey ? -1 : 1); }
  if (event.key === "Escape") { query.value = ""; search(); query.blur(); }
});
byId("next").addEventListener("click", () => goToHit(1));
byId("previous").addEventListener("click", () => goToHit(-1));

// Copying --------------------------------------------------------------------------------------------------------

function copy(text) {
  const done = () => tell("Copied.");
  if (navigator.clipboard && isSecureContext) { navigator.clipboard.writeText(text).then(done, () => copyBySelection(text, done)); }
  else copyBySelection(text, done);
}

function copyBySelection(text, done) {
  const field = document.createElement("textarea");
  field.value = text;
  document.body.append(field);
  field.select();
  if (document.execCommand("copy")) done(); else tell("The browser doesn't allow copying.");
  field.remove();
}

for (const button of document.querySelectorAll("[data-copy]")) {
  button.addEventListener("click", () => copy(data.copies[button.dataset.copy]));
}

// Keys and the URL's fragment -------------------------------------------------------------------------------------

const KEYS = {
  " ": () => toggle(),
  ArrowLeft: (event) => event.shiftKey ? stepWord(-1) : seek(position - SKIP_SECONDS),
  ArrowRight: (event) => event.shiftKey ? stepWord(1) : seek(position + SKIP_SECONDS),
  ArrowUp: () => stepParagraph(-1),
  ArrowDown: () => stepParagraph(1),
  "<": () => changeSpeed(-1),
  ">": () => changeSpeed(1),
  "/": () => query.focus(),
};

addEventListener("keydown", (event) => {
  const inField = event.target.closest?.("input, select, textarea, summary");
  const pressesButton = event.key === " " && event.target.closest?.("button, a");
  if (inField || pressesButton || event.ctrlKey || event.metaKey || event.altKey || !(event.key in KEYS)) return;
  event.preventDefault();
  KEYS[event.key](event);
});

function goToFragment() {
  const found = /^#t=(\d+(?:\.\d+)?)$/.exec(location.hash);
  if (found) seek(Number(found[1]));
}
addEventListener("hashchange", goToFragment);

byId("player").hidden = byId("tools").hidden = false;
main.classList.add("seekable");
byId("choose").hidden = Boolean(data.media.link || data.media.embedded);
readColours();
openRecording();
goToFragment();
update();
