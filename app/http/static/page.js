// The page: sends the pad's content to the service and shows the answer.

import { Answer } from "./answer.js";
import { Camera } from "./camera.js";
import { Corrections } from "./corrections.js";
import { PageError } from "./errors.js";
import { drawEvidence, locatePreview } from "./evidence.js";
import { KeyboardPen } from "./keyboard_pen.js";
import { Pad } from "./pad.js";
import { Picture, save } from "./picture.js";
import { RequestScheduler } from "./requests.js";
import { Service } from "./service.js";
import { Trouble } from "./trouble.js";

const SOURCES = { mnist: "Americans in the 1990s (MNIST)", swiss: "Swiss writers of today" }; // of the training digits

const element = (id) => document.getElementById(id);
const on = (id, event, action) => element(id).addEventListener(event, action);

const pad = new Pad(element("pad"));
const service = new Service();
const answer = new Answer();
const corrections = new Corrections();
const trouble = new Trouble(
  () => requests.restart(),
  () => answer.showIdle(),
);
const requests = new RequestScheduler(readPad, (error) => error.name === "AbortError" || trouble.show(error), setBusy);
let asOneDigit = false; // the user wants one digit read where the service found several; until the content changes
let shown = null; // the prediction that is shown
let latestFile = null; // a token for the file that was opened last

// Reads one digit. If the service finds several, or the user says so, reads a whole number.
async function readPad(signal, isCurrent) {
  if (pad.isEmpty) return;
  const blob = await pad.toBlob();
  if (!isCurrent()) return;
  const ask = (path) =>
    service.post(path, blob, signal, (sent) => {
      if (isCurrent() && element("answer").dataset.state === "reading") answer.showReading(sent);
    });
  if (!element("number").checked) {
    const { answer: prediction, timing } = await ask("predict?preview=true");
    if (!isCurrent()) return;
    if (asOneDigit || prediction.reason !== "several_digits") {
      await showDigit(prediction, timing, blob, signal, isCurrent);
      return;
    }
  }
  const { answer: reading, timing } = await ask("read");
  if (isCurrent()) showNumber(reading, timing);
}

async function showDigit(prediction, timing, blob, signal, isCurrent) {
  trouble.hide();
  setWholeNumber(false);
  offerOtherWay(prediction.reason === "several_digits" ? "Read the whole number" : "");
  answer.showDigit(prediction, timing);
  await answer.showPreview(prediction);
  if (!isCurrent()) return;
  shown = prediction;
  const { box, width, height } = prediction.input;
  if (box && pad.content.picture) pad.mark([toMark(box, width, height, !prediction.accepted)]);
  const hasDigit = prediction.digit !== null;
  element("why").hidden = !hasDigit;
  corrections.ask(hasDigit ? blob : null, prediction.digit);
  if (hasDigit && isWhyPressed()) await showEvidence(signal, isCurrent);
}

async function showEvidence(signal, isCurrent) {
  const digit = element("asked").value;
  const path = digit === "" ? "explain" : `explain?digit=${digit}`;
  // Send the picture that the network saw: it gives the same evidence as a photo and is a thousandth of its size.
  const { answer: explained } = await service.post(path, JSON.stringify({ image: shown.preview }), signal);
  if (!isCurrent()) return;
  element("legend").hidden = false;
  element("no-digit").hidden = shown.reason !== "not_a_digit";
  pad.cover(drawEvidence(explained.evidence), locatePreview(shown.input, element("preview")));
}

function showNumber(reading, timing) {
  trouble.hide();
  setWholeNumber(true);
  offerOtherWay(element("number").checked ? "" : "Read one digit only");
  answer.showNumber(reading, timing);
  shown = null;
  element("why").hidden = element("legend").hidden = true;
  corrections.ask();
  const { width, height } = reading.input;
  const digits = reading.lines.flatMap((line) => line.digits);
  pad.mark(digits.map(({ box, accepted }) => toMark(box, width, height, !accepted)));
}

// Converts a box in pixels to fractions of its picture.
function toMark(box, width, height, doubtful) {
  const [left, top] = [box.left / width, box.top / height];
  return { left, top, width: box.width / width, height: box.height / height, doubtful };
}

const isWhyPressed = () => element("why").ariaPressed === "true";

function setBusy(isBusy) {
  element("answer").setAttribute("aria-busy", isBusy);
}

function setWholeNumber(isWhole) {
  document.body.classList.toggle("whole-number", isWhole);
  element("heading").textContent = isWhole ? "Write a number." : "Write a digit.";
}

function offerOtherWay(text) {
  element("other-way").textContent = text;
  element("other-way").hidden = !text;
}

// The pad has new content: take the old answer away and read it, or show the idle state if the pad is empty.
function handleNewContent() {
  asOneDigit = false;
  say("");
  readAgain();
}

function readAgain() {
  trouble.hide();
  refresh();
  shown = null;
  corrections.ask();
  offerOtherWay("");
  element("why").hidden = element("legend").hidden = true;
  if (pad.isEmpty) {
    requests.cancel();
    setWholeNumber(element("number").checked);
    answer.showIdle();
  } else {
    answer.showReading();
    requests.restart();
  }
}

function refresh() {
  const { picture } = pad.content;
  const unshown = picture && !picture.image;
  element("hint").textContent = pad.isEmpty ? "Draw here" : unshown ? "This file cannot be shown" : "";
  element("undo").disabled = !pad.canUndo;
  element("redo").disabled = !pad.canRedo;
  element("clear").disabled = element("download").disabled = pad.isEmpty;
  const content = pad.isEmpty ? "empty" : picture ? "with a picture" : "with a drawing";
  element("pad").setAttribute("aria-label", `Drawing pad, ${content}`);
}

async function openFile(file) {
  const token = (latestFile = {}); // a large file takes a while to open; only the file that came last counts
  setBusy(true);
  try {
    const picture = await Picture.fromFile(file);
    if (latestFile !== token) return;
    pad.show(picture);
    element("frame").scrollIntoView({ block: "nearest" }); // on a phone, the pad may be above the examples
  } catch (error) {
    if (latestFile !== token) return;
    requests.cancel();
    trouble.show(error);
  }
}

// Opens the first of the files that the user dropped or pasted, and says what happened to the rest.
async function openFirst({ files, types }) {
  if (files.length) await openFile(files[0]);
  if (files.length > 1) say(`The page reads one picture at a time: the first of these ${files.length}.`);
  if (!files.length && types.length) say("That was text, not a picture. Copy the picture itself, or choose its file.");
}

function say(text) {
  element("notice").textContent = text;
}

async function openExample(name) {
  try {
    await openFile(await (await fetch(`assets/examples/${name}.png`)).blob());
  } catch (error) {
    trouble.show(PageError.unreachable(error));
  }
}

async function download() {
  const blob = await pad.toBlob();
  save(blob, `digit.${blob.type.replace("image/", "").replace("jpeg", "jpg") || "png"}`);
}

async function describeTraining() {
  const data = (await service.getInfo())?.model.training.data;
  if (!data) return;
  const sources = Object.keys(data.held_out ?? {}).map((name) => SOURCES[name] ?? name);
  const by = sources.length ? ` by ${sources.join(" and ")}` : "";
  element("learned").textContent = `The network learned from ${data.trained_on.toLocaleString("en")} digits${by}.`;
}

pad.addEventListener("extend", () => {
  refresh();
  requests.schedule();
});
pad.addEventListener("replace", handleNewContent);
new KeyboardPen(pad, element("pad"));

on("undo", "click", () => pad.undo());
on("redo", "click", () => pad.redo());
on("clear", "click", () => pad.clear());
on("download", "click", download);
on("number", "change", () => {
  pad.wholeNumber = element("number").checked;
  setWholeNumber(element("number").checked);
  pad.mark([]);
  readAgain();
});
on("other-way", "click", () => {
  asOneDigit = document.body.classList.contains("whole-number");
  pad.mark([]);
  element("pad").focus(); // because this button disappears
  readAgain();
});
on("why", "click", () => {
  element("why").ariaPressed = String(!isWhyPressed());
  pad.cover(null);
  element("legend").hidden = true;
  if (isWhyPressed()) requests.restart();
});
on("asked", "change", () => requests.restart());
on("details", "toggle", () => element("details").open && describeTraining());
on("key-form", "submit", (event) => {
  event.preventDefault();
  service.key = element("key").value.trim();
  element("key").value = "";
  readAgain();
});

for (const id of ["choose", "photograph"]) {
  on(id, "change", ({ target }) => {
    if (target.files[0]) openFile(target.files[0]);
    target.value = ""; // so that the user can choose the same file again
  });
}
for (const button of document.querySelectorAll("[data-example]")) {
  button.addEventListener("click", () => openExample(button.dataset.example));
}
if (Camera.isAvailable) {
  const camera = new Camera(openFile);
  element("live").hidden = false;
  on("live", "click", () => camera.open());
}

document.addEventListener("paste", (event) => {
  if (!event.target.matches("input")) openFirst(event.clipboardData);
});
document.addEventListener("keydown", (event) => {
  const isTyping = event.target.matches("input:not([type=checkbox], [type=file]), select");
  if (!(event.ctrlKey || event.metaKey) || isTyping) return;
  const key = event.key.toLowerCase();
  if (key !== "z" && key !== "y") return;
  event.preventDefault();
  if (key === "y" || event.shiftKey) pad.redo();
  else pad.undo();
});
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("dragging");
});
document.addEventListener("dragleave", (event) => {
  if (event.relatedTarget === null) document.body.classList.remove("dragging");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dragging");
  openFirst(event.dataTransfer);
});

pad.wholeNumber = element("number").checked; // browsers restore a switch when the page reloads
setWholeNumber(element("number").checked);
refresh();
answer.showIdle();
