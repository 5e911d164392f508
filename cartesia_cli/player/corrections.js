
// Corrections ----------------------------------------------------------------------------------------------------
// A correction replaces neighbouring words of a paragraph by others ("splice"). Texts are changed in place, never built
// again, and other words keep their times and spelling. Segments end at `cuts`: places within a word and the text before it.

const LONG_SECONDS = 3, SILENT_SECONDS = 0.5;
const SILENT_SHARE = 0.03; // of the loudest peak of the recording
const COARSE_SECONDS = 0.2; // peaks of longer stretches don't show pauses
const ESTIMATED_BY_US = 1, ESTIMATED_BY_SERVER = 2, EDITED = 4;
const UNWANTED = /[\u0000-\u0008\u000e-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g; // no recognizer sends any, and they would show another text

function enableCorrections(record) {
  const field = byId("spelling"), names = [...document.querySelectorAll(".name")], { speakers } = record;
  const tail = { lead: record.tail, spelling: "", cuts: [] };
  const done = [], undone = [];
  let editing = false, selected = -1, saved = undefined, saving = false, version = record.save?.version;
  let odd = [], commit = null;
  highlights.odd = new Highlight();
  highlights.selected = new Highlight();
  highlights.selected.priority = 2;
  CSS.highlights.set("odd", highlights.odd);
  CSS.highlights.set("selected", highlights.selected);

  record.words.forEach(([lead, leading, spelling, trailing, start, end, flags, speaker], i) => {
    Object.assign(words[i], { lead, leading, spelling, trailing, start, end, flags, speaker, cuts: [] });
  });
  const parts = () => [...words, tail];
  {
    const all = parts();
    let end = 0, k = 0, at = 0;
    for (const segment of record.segments.slice(0, -1)) {
      end += segment.length;
      while (k < all.length - 1 && at + all[k].lead.length + all[k].spelling.length <= end) at += all[k].lead.length + all[k++].spelling.length;
      all[k].cuts.push(end - at);
    }
  }
  const fewEstimates = 2 * words.filter((word) => word.flags & (ESTIMATED_BY_US | ESTIMATED_BY_SERVER)).length < words.length;

  function say(message) { byId("said").textContent = message; }
  const wordRange = (word) => rangeOf(word.paragraph, word.offset, word.length);
  const isDirty = () => done.at(-1) !== saved;

  const quiet = data.peaks.step > COARSE_SECONDS ? -1 : SILENT_SHARE * peaks.reduce((loudest, peak) => Math.max(loudest, peak), 0);

  /** Whether there is a pause within a word, with sound before it and after it. */
  function holdsSilence({ start, end }) {
    let silent = 0, heard = false;
    for (let i = Math.ceil(start / data.peaks.step); i < Math.min(peaks.length, Math.floor(end / data.peaks.step)); i++) {
      if (peaks[i] <= quiet) silent += data.peaks.step;
      else if (heard && silent > SILENT_SECONDS - 0.001) return true;
      else [silent, heard] = [0, true];
    }
    return false;
  }

  /** Why a word should be looked at; "" if nothing is odd about it. */
  function oddity(i) {
    const word = words[i], next = words[i + 1];
    if (word.flags & EDITED) return "";
    if (word.end <= word.start) return "it has no length";
    if (word.end - word.start > LONG_SECONDS) return `it lasts ${(word.end - word.start).toFixed(1)} s`;
    if (holdsSilence(word)) return "there is silence inside";
    if (next && next.speaker === word.speaker && next.start < word.end - 0.0005) return "the next word begins before it ends";
    return fewEstimates && word.flags & (ESTIMATED_BY_US | ESTIMATED_BY_SERVER) ? "its times are estimated" : "";
  }

  // Changes, and their reverse -------------------------------------------------------------------------------------

  /** Make a change, or take it back: each has `before` and `after`. */
  function apply(change, from, to) {
    if (change.kind === "rename") {
      speakers[change.speaker] = change[to].name;
      change[to].shown.forEach((text, k) => { names[k].textContent = text; });
    } else {
      const { at, paragraph, offset } = change, gone = change[from], come = change[to];
      paragraphs[paragraph].node.replaceData(offset, gone.shown.length, come.shown);
      words.splice(at, gone.words.length, ...come.words);
      for (let p = paragraph + 1; p < firstWord.length; p++) firstWord[p] += come.words.length - gone.words.length;
      for (let i = at + come.words.length; i < firstWord[paragraph + 1]; i++) words[i].offset += come.shown.length - gone.shown.length;
      if (come.following) Object.assign(words[at + come.words.length] ?? tail, come.following);
      sortByTime();
      selected = Math.min(at, words.length - 1);
    }
    refresh();
  }

  function make(change) {
    done.push(change);
    undone.length = 0;
    apply(change, "before", "after");
  }

  function undo() {
    if (!done.length) return;
    undone.push(done.pop());
    apply(undone.at(-1), "after", "before");
    say("Undone.");
  }

  function redo() {
    if (!undone.length) return;
    done.push(undone.pop());
    apply(done.at(-1), "before", "after");
    say("Done again.");
  }

  /** Replace words, from `at` on, by these spellings, of which there is at least one. */
  function replaceWords(at, count, spellings) {
    const gone = words.slice(at, at + count), first = gone[0], last = gone.at(-1);
    const begin = first.start, end = Math.max(first.end, last.end);
    const letters = spellings.join("").length;
    let passed = 0, offset = first.offset;
    const edge = () => Math.round(1000 * (begin + (end - begin) * passed / letters)) / 1000;
    const come = spellings.map((spelling, k) => {
      const word = { ...first, spelling, offset, length: spelling.length, flags: first.flags | EDITED, cuts: [], trailing: "" };
      if (k) Object.assign(word, { lead: " ", leading: at ? first.leading : words[count]?.leading ?? "", start: edge() });
      passed += spelling.length;
      word.end = k < spellings.length - 1 ? edge() : end;
      offset += spelling.length + 1;
      return word;
    });
    come.at(-1).trailing = last.trailing;
    // Where a segment ended before the first word, it does still; one that ended within them now ends behind them.
    for (const word of gone) {
      for (const cut of word.cuts) {
        if (word === first && cut <= first.lead.length) come[0].cuts.push(cut);
        else come.at(-1).cuts.push(come.at(-1).lead.length + come.at(-1).spelling.length);
      }
    }
    const shown = paragraphs[first.paragraph].node.data.slice(first.offset, last.offset + last.length);
    make({
      at, paragraph: first.paragraph, offset: first.offset,
      before: { words: gone, shown }, after: { words: come, shown: spellings.join(" ") },
    });
  }

  function mergeWithNext() {
    const [first, second] = words.slice(selected, selected + 2);
    if (!second) return say("There is no next word.");
    if (second.paragraph !== first.paragraph || second.speaker !== first.speaker) return say("The next word is in another paragraph.");
    replaceWords(selected, 2, [first.spelling + second.lead.replace(/\s+/g, "") + second.spelling]);
    describe("Merged: ");
  }

  /** Remove a word and the space before it; other text around it goes to the next word. */
  function removeWord() {
    if (words.length === 1) return say("The only word can't be removed.");
    const at = selected, word = words[at], next = words[at + 1] ?? tail;
    const previous = at > firstWord[word.paragraph] ? words[at - 1] : null;
    const offset = previous ? previous.offset + previous.length : 0;
    const shown = paragraphs[word.paragraph].node.data.slice(offset, word.offset + word.length);
    const lead = /^\s|^$/.test(next.lead) ? word.lead.trimEnd() : word.lead;
    const rest = at ? next.lead : next.lead.trimStart(), dropped = next.lead.length - rest.length;
    const cuts = [...word.cuts.map((cut) => Math.min(cut, lead.length)), ...next.cuts.map((cut) => lead.length + Math.max(0, cut - dropped))];
    const shownLead = shown.slice(0, word.offset - offset);
    make({
      at, paragraph: word.paragraph, offset,
      before: { words: [word], shown, following: { lead: next.lead, cuts: next.cuts } },
      after: { words: [], shown: /^\s|^$/.test(next.lead) ? shownLead.trimEnd() : shownLead, following: { lead: lead + rest, cuts } },
    });
    say(`Removed “${word.spelling}”.`);
  }

  function rename(speaker, name) {
    const shown = names.map((element) => element.textContent);
    const renamed = names.map((element, k) => Number(element.dataset.speaker) === speaker ? `${name}:` : shown[k]);
    make({ kind: "rename", speaker, before: { name: speakers[speaker], shown }, after: { name, shown: renamed } });
    say(`Renamed to ${name}.`);
  }

  // What is shown --------------------------------------------------------------------------------------------------

  function refresh() {
    odd = words.map((_, i) => i).filter(oddity);
    highlights.odd.clear();
    if (editing) for (const i of odd) highlights.odd.add(wordRange(words[i]));
    byId("odd").textContent = `${odd.length} to review`;
    byId("review").disabled = !odd.length;
    byId("undo").disabled = !done.length;
    byId("save").disabled = !isDirty() || saving;
    for (const button of document.querySelectorAll("[data-copy]:not([data-copy=text])")) {
      button.disabled = done.length > 0;
      button.title = done.length ? "Without the corrections: save them, and `cartesia-cli render` the saved file" : "";
    }
    data.copies.text = done.length ? textOfPage() : original;
    if (query.value) search();
    current = -1;
    showSelected();
    update();
  }

  const original = data.copies.text;
  function textOfPage() {
    return paragraphs.map(({ element, node }) => {
      const name = element.querySelector(".name");
      return (name ? `${name.textContent} ` : "") + node.data.trim();
    }).join("\n\n");
  }

  function showSelected() {
    highlights.selected.clear();
    if (editing && selected >= 0) highlights.selected.add(wordRange(words[selected]));
  }

  function describe(before = "") {
    const word = words[selected], why = oddity(selected);
    say(`${before}“${word.spelling}”, ${word.start.toFixed(2)} to ${word.end.toFixed(2)} s${why ? `: ${why}` : ""}`);
  }

  function select(i) {
    if (i < 0 || i >= words.length) return;
    selected = i;
    seek(words[i].start);
    showSelected();
    keepInView(wordRange(words[i]), paragraphs[words[i].paragraph].element);
    describe();
  }

  function edit(on) {
    closeField(true);
    editing = on;
    byId("edit").setAttribute("aria-pressed", String(on));
    byId("corrections").hidden = !on;
    takeWord = on ? select : playFrom;
    for (const name of names) {
      if (on) { name.setAttribute("role", "button"); name.tabIndex = 0; } else { name.removeAttribute("role"); name.removeAttribute("tabindex"); }
    }
    if (on) audio.pause();
    refresh();
    if (on) select(byTime[begunAt(position)] ?? 0); else if (isDirty()) tell("The corrections aren't saved yet: Edit goes back to them.");
  }

  function review(step) {
    if (!odd.length) return;
    const next = step > 0 ? odd.find((i) => i > selected) ?? odd[0] : odd.findLast((i) => i < selected) ?? odd.at(-1);
    select(next);
  }

  // The field in which a word or a name is written -------------------------------------------------------------------

  function openField(box, text, keep) {
    commit = keep;
    field.value = text;
    byId("writing").hidden = false;
    field.style.left = `${Math.max(0, Math.min(box.left + scrollX, document.documentElement.clientWidth - 160))}px`;
    field.style.top = `${box.top + scrollY - 3}px`;
    field.style.width = `${Math.max(96, box.width + 40)}px`;
    field.focus({ preventScroll: true });
    field.select();
  }

  function closeField(keep) {
    if (!commit) return;
    const take = commit, text = field.value.replace(UNWANTED, "").trim();
    commit = null;
    byId("writing").hidden = true;
    main.focus({ preventScroll: true });
    if (keep) take(text);
  }

  /** Returns the number of words that the selected one has become. */
  function changeTo(text) {
    const spellings = text.split(/\s+/).filter(Boolean), word = words[selected];
    if (!spellings.length) removeWord();
    else if (spellings.length > 1 || spellings[0] !== word.spelling) {
      replaceWords(selected, 1, spellings);
      describe("Changed: ");
    }
    return spellings.length;
  }

  function changeSelected() {
    if (selected < 0) return;
    const range = wordRange(words[selected]);
    keepInView(range, paragraphs[words[selected].paragraph].element);
    openField(range.getBoundingClientRect(), words[selected].spelling, changeTo);
  }

  function changeName(element) {
    const speaker = Number(element.dataset.speaker);
    openField(element.getBoundingClientRect(), speakers[speaker], (name) => { if (name && name !== speakers[speaker]) rename(speaker, name); });
  }

  field.addEventListener("keydown", (event) => {
    if (event.isComposing) return;
    if (event.key === "Enter" || event.key === "Escape") {
      event.preventDefault();
      event.stopPropagation();
      closeField(event.key === "Enter");
    } else if (event.key === "Tab" && commit === changeTo) {
      event.preventDefault();
      const count = field.value.trim().split(/\s+/).filter(Boolean).length;
      closeField(true);
      select(event.shiftKey ? selected - 1 : selected + count);
      changeSelected();
    }
  });
  field.addEventListener("blur", () => closeField(true));

  // Saving ---------------------------------------------------------------------------------------------------------

  /** The JSON document with the corrections. */
  function corrected() {
    const named = (speaker) => speaker < 0 ? {} : { speaker: speakers[speaker] };
    const places = [0];
    let text = "";
    for (const { lead, spelling, cuts } of parts()) {
      for (const cut of cuts) places.push(text.length + cut);
      text += lead + spelling;
    }
    places.push(text.length);
    const segments = record.segments
      .map(({ start, end, length, speaker, ...rest }, k) => ({ start, end, text: text.slice(places[k], places[k + 1]), length, ...rest, ...named(speaker) }))
      .filter((segment) => segment.text || !segment.length)
      .map(({ length, ...segment }) => segment);
    const said = words.map(({ leading, spelling, trailing, start, end, flags, speaker }) => ({
      word: leading + spelling + trailing, start, end,
      ...flags & ESTIMATED_BY_US && { timing: "estimated" }, ...flags & ESTIMATED_BY_SERVER && { estimated: true },
      ...flags & EDITED && { edited: true }, ...named(speaker),
    }));
    return { ...record.facts, text, segments, words: said, ...record.notices && { notices: record.notices } };
  }

  const asFile = () => `${JSON.stringify(corrected(), null, 2)}\n`;

  function download() {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([asFile()], { type: "application/json" }));
    link.download = record.name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
    saved = done.at(-1);
    say(`Downloaded as ${record.name}: \`cartesia-cli render\` makes everything else of it.`);
    refresh();
  }

  async function save() {
    closeField(true);
    if (!record.save) return download();
    if (saving || !isDirty()) return;
    const now = done.at(-1);
    saving = true;
    byId("save").disabled = true;
    try {
      const answer = await fetch(record.save.url, {
        method: "PUT", body: asFile(), headers: { "Content-Type": "application/json", "If-Match": version },
      });
      if (answer.ok) {
        version = answer.headers.get("ETag");
        saved = now;
      }
      byId("download").hidden = answer.ok;
      say(await answer.text());
    } catch {
      byId("download").hidden = false;
      say("Not saved: `cartesia-cli edit` doesn't answer. Start it again, or download the corrections.");
    }
    saving = false;
    refresh();
  }

  // Keys and buttons -----------------------------------------------------------------------------------------------

  const keys = {
    ArrowLeft: () => select(selected - 1), ArrowRight: () => select(selected + 1),
    Enter: changeSelected, m: mergeWithNext, Delete: removeWord, Backspace: removeWord, n: () => review(1), N: () => review(-1),
  };
  const controlKeys = { z: undo, Z: redo, y: redo, s: save };

  addEventListener("keydown", (event) => {
    const target = event.target.closest?.("input, select, textarea, summary");
    const control = event.ctrlKey || event.metaKey;
    let action = control ? controlKeys[event.key] : keys[event.key];
    if (target && !(event.key === "s" && control)) return;
    const name = event.target.closest?.(".name[role=button]");
    if (name && (event.key === "Enter" || event.key === " ")) action = () => changeName(name);
    else if (event.key === "Enter" && event.target.closest?.("button, a")) return;
    if (!control && (event.key === "e" || event.key === "E")) action = () => edit(!editing);
    else if (!editing) return;
    if (!action || event.altKey || (event.shiftKey && event.key.startsWith("Arrow"))) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    action();
  }, true);

  main.addEventListener("click", (event) => {
    const name = event.target.closest(".name[role=button]");
    if (name) changeName(name);
  });
  for (const [id, action] of Object.entries({
    edit: () => edit(!editing), change: changeSelected, merge: mergeWithNext, remove: removeWord, review: () => review(1), undo, save, download,
  })) byId(id).addEventListener("click", action);
  addEventListener("beforeunload", (event) => { if (isDirty() || commit) event.preventDefault(); });

  byId("edit").hidden = false;
  refresh();
}

if (data.corrections) enableCorrections(data.corrections);
