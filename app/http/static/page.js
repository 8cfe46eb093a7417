// The page: sends the pad's content to the service and shows the answer.

import { Answer } from "./answer.js";
import { Camera } from "./camera.js";
import { PageError } from "./errors.js";
import { drawEvidence } from "./evidence.js";
import { Pad } from "./pad.js";
import { Picture } from "./picture.js";
import { RequestScheduler } from "./requests.js";
import { Service } from "./service.js";

const MAX_RETRIES = 3; // without the user, while the service is overloaded

const element = (id) => document.getElementById(id);
const on = (id, event, action) => element(id).addEventListener(event, action);

const pad = new Pad(element("pad"));
const service = new Service();
const answer = new Answer();
const requests = new RequestScheduler(readPad, showError, setBusy);
let retries = 0;
let latestFile = null; // a token for the file that was opened last
let countdown = null;

async function readPad(signal, isCurrent) {
  if (pad.isEmpty) return;
  const blob = await pad.toBlob();
  if (!isCurrent()) return;
  if (element("number").checked) await readNumber(blob, signal, isCurrent);
  else await readDigit(blob, signal, isCurrent);
}

async function readDigit(blob, signal, isCurrent) {
  const { answer: prediction, timing } = await service.post("predict?preview=true", blob, signal);
  if (!isCurrent()) return;
  hideError();
  answer.showDigit(prediction, timing);
  await answer.showPreview(prediction);
  if (!isCurrent()) return;
  const { box, width, height } = prediction.input;
  if (box && pad.content.picture) pad.mark([toMark(box, width, height, !prediction.accepted)]);
  if (!element("evidence").checked || prediction.digit === null) return;
  const digit = element("asked").value;
  try {
    // Send the picture that the network saw: it gives the same evidence as a photo and is a thousandth of its size.
    const path = digit === "" ? "explain" : `explain?digit=${digit}`;
    const { answer: explained } = await service.post(path, JSON.stringify({ image: prediction.preview }), signal);
    if (isCurrent()) drawEvidence(element("preview"), explained.evidence);
  } catch (error) {
    if (error.status !== 404) throw error;
    element("evidence-switch").hidden = element("legend").hidden = true; // this service has no /explain
    element("evidence").checked = false;
  }
}

async function readNumber(blob, signal, isCurrent) {
  const { answer: reading, timing } = await service.post("read", blob, signal);
  if (!isCurrent()) return;
  hideError();
  answer.showNumber(reading, timing);
  const { width, height } = reading.input;
  const digits = reading.lines.flatMap((line) => line.digits);
  pad.mark(digits.map(({ box, accepted }) => toMark(box, width, height, !accepted)));
}

// Converts a box in pixels to fractions of its picture.
function toMark(box, width, height, doubtful) {
  const [left, top] = [box.left / width, box.top / height];
  return { left, top, width: box.width / width, height: box.height / height, doubtful };
}

function showError(error) {
  if (error.name === "AbortError") return;
  const isExpected = error instanceof PageError;
  const shown = isExpected
    ? error
    : new PageError("Something went wrong on this page.", { detail: String(error), canRetry: true });
  if (!isExpected) console.error(error);
  element("trouble").hidden = false;
  element("answer").dataset.state = "troubled";
  element("trouble-title").textContent = shown.title;
  element("trouble-detail").textContent = shown.detail;
  element("trouble-advice").textContent = shown.advice;
  element("trouble-id").textContent = shown.requestId && `Request ${shown.requestId}`;
  element("key-form").hidden = shown.status !== 401;
  element("again").hidden = !shown.canRetry;
  if (shown.status === 503) scheduleRetry(shown.retryAfter);
}

function setBusy(isBusy) {
  element("answer").setAttribute("aria-busy", isBusy);
}

// Retries a few times by itself, after the time that the service asked for.
function scheduleRetry(seconds) {
  if (retries >= MAX_RETRIES) {
    element("trouble-advice").textContent = "The service is still overloaded. Try again in a minute.";
    return;
  }
  retries += 1;
  clearTimeout(countdown);
  element("trouble-advice").textContent = `Trying again in ${seconds} s.`;
  countdown = setTimeout(() => requests.restart(), seconds * 1000);
}

function hideError() {
  clearTimeout(countdown);
  retries = 0;
  element("trouble").hidden = element("key-form").hidden = element("again").hidden = true;
}

// The pad has new content: read it, or show the idle state if the pad is empty.
function handleNewContent() {
  hideError();
  refresh();
  if (pad.isEmpty) {
    requests.cancel();
    answer.showIdle();
  } else {
    requests.restart();
  }
}

function refresh() {
  const { picture } = pad.content;
  const unshown = picture && !picture.image;
  element("hint").textContent = pad.isEmpty ? "Draw here" : unshown ? "This file cannot be shown" : "";
  element("undo").disabled = !pad.canUndo;
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
    element("frame").scrollIntoView({ block: "nearest" }); // on a phone, the pad may be far above the examples
  } catch (error) {
    if (latestFile !== token) return;
    requests.cancel();
    hideError();
    showError(error);
  }
}

async function openExample(name) {
  let example;
  try {
    example = await (await fetch(`assets/examples/${name}.png`)).blob();
  } catch (error) {
    showError(PageError.unreachable(error));
    return;
  }
  setWholeNumber(name === "number");
  await openFile(example);
}

function setWholeNumber(isWhole) {
  element("number").checked = isWhole;
  pad.wholeNumber = isWhole;
  document.body.classList.toggle("whole-number", isWhole);
}

async function download() {
  const blob = await pad.toBlob();
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = `digit.${blob.type.replace("image/", "").replace("jpeg", "jpg") || "png"}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

pad.addEventListener("extend", () => {
  refresh();
  requests.schedule();
});
pad.addEventListener("replace", handleNewContent);

on("undo", "click", () => pad.undo());
on("clear", "click", () => pad.clear());
on("download", "click", download);
on("number", "change", () => {
  setWholeNumber(element("number").checked);
  pad.mark([]);
  handleNewContent();
});
on("as-number", "click", () => {
  setWholeNumber(true);
  element("number").focus(); // because this button disappears
  handleNewContent();
});
on("evidence", "change", () => {
  element("legend").hidden = !element("evidence").checked;
  handleNewContent();
});
on("asked", "change", handleNewContent);
on("again", "click", () => {
  retries = 0;
  handleNewContent();
});
on("key-form", "submit", (event) => {
  event.preventDefault();
  service.key = element("key").value.trim();
  element("key").value = "";
  handleNewContent();
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
  const [file] = event.clipboardData.files;
  if (file) openFile(file);
});
document.addEventListener("keydown", (event) => {
  const typing = event.target.matches("input:not([type=checkbox], [type=file]), select");
  if ((event.ctrlKey || event.metaKey) && event.key === "z" && !event.shiftKey && !typing) {
    event.preventDefault();
    pad.undo();
  }
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
  const [file] = event.dataTransfer.files;
  if (file) openFile(file);
});

setWholeNumber(element("number").checked); // browsers restore a switch when the page reloads
element("legend").hidden = !element("evidence").checked;
refresh();
answer.showIdle();
