// The page: what is on the pad is asked of the service, and what it answers is shown.

import { Answer } from "./answer.js";
import { Asker } from "./asker.js";
import { Camera } from "./camera.js";
import { drawEvidence } from "./evidence.js";
import { Pad } from "./pad.js";
import { Picture } from "./picture.js";
import { Service } from "./service.js";
import { Trouble } from "./trouble.js";

const TRIES = 3; // that are made by themselves while the service is overloaded

const element = (id) => document.getElementById(id);
const on = (id, event, action) => element(id).addEventListener(event, action);

const pad = new Pad(element("pad"));
const service = new Service();
const answer = new Answer();
const asker = new Asker(ask, fail, busy);
let tries = 0;
let taken = null; // what stands for the last file
let countdown = null;

async function ask(signal, isCurrent) {
  if (pad.isEmpty) return;
  const blob = await pad.toBlob();
  if (!isCurrent()) return;
  if (element("number").checked) await askNumber(blob, signal, isCurrent);
  else await askDigit(blob, signal, isCurrent);
}

async function askDigit(blob, signal, isCurrent) {
  const { answer: prediction, timing } = await service.post("predict?preview=true", blob, signal);
  if (!isCurrent()) return;
  untroubled();
  answer.digit(prediction, timing);
  await answer.preview(prediction);
  if (!isCurrent()) return;
  const { box, width, height } = prediction.input;
  if (box && pad.content.picture) pad.mark([shares(box, width, height, !prediction.accepted)]);
  if (!element("evidence").checked || prediction.digit === null) return;
  const asked = element("asked").value;
  try {
    // The picture that the network saw stands for the one it was made of, and is a thousandth of a photograph.
    const path = asked === "" ? "explain" : `explain?digit=${asked}`;
    const { answer: explained } = await service.post(path, JSON.stringify({ image: prediction.preview }), signal);
    if (isCurrent()) drawEvidence(element("preview"), explained.evidence);
  } catch (error) {
    if (error.status !== 404) throw error;
    element("evidence-switch").hidden = element("legend").hidden = true; // this service does not explain
    element("evidence").checked = false;
  }
}

async function askNumber(blob, signal, isCurrent) {
  const { answer: reading, timing } = await service.post("read", blob, signal);
  if (!isCurrent()) return;
  untroubled();
  answer.number(reading, timing);
  const { width, height } = reading.input;
  const digits = reading.lines.flatMap((line) => line.digits);
  pad.mark(digits.map(({ box, accepted }) => shares(box, width, height, !accepted)));
}

// A box in pixels of a picture, as shares of it.
function shares({ left, top, width, height }, wide, high, doubtful) {
  return { left: left / wide, top: top / high, width: width / wide, height: height / high, doubtful };
}

function fail(error) {
  if (error.name === "AbortError") return;
  const trouble = error instanceof Trouble ? error : new Trouble("Something went wrong on this page.", { detail: String(error), again: true });
  if (!(error instanceof Trouble)) console.error(error);
  element("trouble").hidden = false;
  element("answer").dataset.state = "troubled";
  element("trouble-title").textContent = trouble.title;
  element("trouble-detail").textContent = trouble.detail;
  element("trouble-advice").textContent = trouble.advice;
  element("trouble-id").textContent = trouble.requestId && `Request ${trouble.requestId}`;
  element("key-form").hidden = trouble.status !== 401;
  element("again").hidden = !trouble.again;
  if (trouble.status === 503) wait(trouble.retryAfter);
}

function busy(is) {
  element("answer").setAttribute("aria-busy", is);
}

// Tries again by itself a few times, when the service said that it would be able to.
function wait(seconds) {
  if (tries >= TRIES) {
    element("trouble-advice").textContent = "It stays so. Try again in a minute.";
    return;
  }
  tries += 1;
  clearTimeout(countdown);
  element("trouble-advice").textContent = `It is tried again in ${seconds} s.`;
  countdown = setTimeout(() => asker.anew(), seconds * 1000);
}

function untroubled() {
  clearTimeout(countdown);
  tries = 0;
  element("trouble").hidden = element("key-form").hidden = element("again").hidden = true;
}

// What is on the pad is something else now.
function anew() {
  untroubled();
  refresh();
  if (pad.isEmpty) {
    asker.drop();
    answer.idle();
  } else {
    asker.anew();
  }
}

function refresh() {
  const { picture } = pad.content;
  element("hint").textContent = pad.isEmpty ? "Draw here" : picture && !picture.image ? "This file cannot be shown" : "";
  element("undo").disabled = !pad.canUndo;
  element("clear").disabled = element("download").disabled = pad.isEmpty;
  element("pad").setAttribute("aria-label", `Drawing pad, ${pad.isEmpty ? "empty" : picture ? "with a picture" : "with a drawing"}`);
}

async function take(file) {
  const mine = (taken = {}); // a large one takes a while to open, and the last one counts
  busy(true);
  try {
    const picture = await Picture.of(file);
    if (taken !== mine) return;
    pad.show(picture);
    element("frame").scrollIntoView({ block: "nearest" }); // on a phone, the examples are far below
  } catch (error) {
    if (taken !== mine) return;
    asker.drop();
    untroubled();
    fail(error);
  }
}

async function takeExample(name) {
  let example;
  try {
    example = await (await fetch(`assets/examples/${name}.png`)).blob();
  } catch (error) {
    fail(Trouble.unreachable(error));
    return;
  }
  setNumber(name === "number");
  await take(example);
}

function setNumber(whole) {
  element("number").checked = whole;
  pad.wholeNumber = whole;
  document.body.classList.toggle("whole-number", whole);
}

async function download() {
  const blob = await pad.toBlob();
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = `digit.${blob.type.replace("image/", "").replace("jpeg", "jpg") || "png"}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

pad.addEventListener("more", () => {
  refresh();
  asker.more();
});
pad.addEventListener("anew", anew);

on("undo", "click", () => pad.undo());
on("clear", "click", () => pad.clear());
on("download", "click", download);
on("number", "change", () => {
  setNumber(element("number").checked);
  pad.mark([]);
  anew();
});
on("as-number", "click", () => {
  setNumber(true);
  element("number").focus(); // the button goes away
  anew();
});
on("evidence", "change", () => {
  element("legend").hidden = !element("evidence").checked;
  anew();
});
on("asked", "change", anew);
on("again", "click", () => {
  tries = 0;
  anew();
});
on("key-form", "submit", (event) => {
  event.preventDefault();
  service.key = element("key").value.trim();
  element("key").value = "";
  anew();
});

for (const id of ["choose", "photograph"]) {
  on(id, "change", ({ target }) => {
    if (target.files[0]) take(target.files[0]);
    target.value = ""; // so that the same file can be chosen again
  });
}
for (const button of document.querySelectorAll("[data-example]")) {
  button.addEventListener("click", () => takeExample(button.dataset.example));
}
if (Camera.isThere) {
  const camera = new Camera(take);
  element("live").hidden = false;
  on("live", "click", () => camera.open());
}

document.addEventListener("paste", (event) => {
  const [file] = event.clipboardData.files;
  if (file) take(file);
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
  if (file) take(file);
});

setNumber(element("number").checked); // browsers keep a switch when a page is loaded again
element("legend").hidden = !element("evidence").checked;
refresh();
answer.idle();
