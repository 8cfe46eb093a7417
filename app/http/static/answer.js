// The panel that shows the answer: a large digit or number, a sentence, and the details behind a disclosure.

import { describeInput, describePrediction, describeReading, describeTiming, formatPercent } from "./words.js";

const SPEECH_DELAY_MS = 700; // a screen reader announces an answer once it is stable, not ten times during a stroke
const DIGITS = [...Array(10).keys()];

const element = (id) => document.getElementById(id);

export class Answer {
  #speechTimer = null;

  showIdle() {
    this.#show({
      state: "idle",
      digit: "?",
      sentence: "Nothing to read yet.",
      advice: "Draw on the pad, or choose an example.",
    });
    this.#showBars(DIGITS.map((digit) => ({ label: digit, share: null })));
  }

  // Takes the old answer away while a new picture is sent and read. sent: share of the upload, null if it is small.
  showReading(sent = null) {
    const sentence = sent === null || sent === 1 ? "Reading…" : `Sending… ${Math.floor(100 * sent)} %`;
    this.#show({ state: "reading", digit: "", sentence });
  }

  // prediction: the answer of POST /predict.
  showDigit(prediction, timing) {
    const { digit, accepted, reason, probabilities, input } = prediction;
    const state = accepted ? "accepted" : "doubtful";
    this.#show({ state, digit: digit ?? "–", reason, ...describePrediction(prediction) });
    const guess = !accepted;
    this.#showBars(
      DIGITS.map((each) => ({ label: each, share: probabilities[each] ?? null, chosen: each === digit, guess })),
    );
    element("treatment").textContent = describeInput(input);
    this.#showFacts(prediction, timing);
  }

  // reading: the answer of POST /read.
  showNumber(reading, timing) {
    const { accepted, reason, lines } = reading;
    const state = accepted ? "accepted" : "doubtful";
    this.#show({ state, digit: "–", lines, reason, ...describeReading(reading) });
    const digits = lines.flatMap((line) => line.digits);
    this.#showBars(
      digits.map((each) => ({ label: each.digit, share: each.confidence, chosen: true, guess: !each.accepted })),
    );
    this.#showFacts(reading, timing);
  }

  // Shows the 28x28 picture that the network saw.
  async showPreview(prediction) {
    const image = new Image();
    image.src = prediction.preview;
    await image.decode();
    element("preview").getContext("2d").drawImage(image, 0, 0);
    element("preview").setAttribute("aria-label", `What the network saw: ${prediction.digit ?? "no ink"}`);
  }

  #show({ state, digit, lines, reason, sentence, certainty = "", advice = "" }) {
    const panel = element("answer");
    panel.dataset.state = state;
    panel.dataset.reason = reason ?? "";
    const large = element("digit");
    large.replaceChildren(...(lines?.length ? lines.map(createLine) : [String(digit)]));
    const lengths = (lines ?? []).map(({ digits, numbers }) => digits.length + 0.5 * (numbers.length - 1));
    large.style.setProperty("--length", Math.max(1, ...lengths));
    large.style.setProperty("--lines", lines?.length || 1);
    element("sentence").textContent = [sentence, certainty].filter(Boolean).join(" ");
    element("advice").textContent = advice;
    const isAnswer = state === "accepted" || state === "doubtful";
    element("details").hidden = !isAnswer;
    const digits = (lines ?? []).map(({ text }) => `${[...text].join(" ")}. `).join("");
    this.#speak(isAnswer ? `${digits}${element("sentence").textContent} ${advice}` : "");
  }

  #showBars(shares) {
    const list = element("bars");
    list.replaceChildren(...shares.map(createBar));
    list.setAttribute("aria-label", shares.length === 10 ? "How likely each digit is" : "How sure each digit is");
  }

  #showFacts({ model }, timing) {
    element("timing").textContent = describeTiming(timing);
    element("model").textContent = model;
  }

  #speak(text) {
    clearTimeout(this.#speechTimer);
    this.#speechTimer = setTimeout(() => {
      element("spoken").textContent = text;
    }, SPEECH_DELAY_MS);
  }
}

// A line of digits, with a gap between two numbers.
function createLine({ digits, numbers }) {
  const line = document.createElement("span");
  line.className = "line";
  const starts = new Set();
  numbers.reduce((start, number) => starts.add(start) && start + number.length, 0);
  digits.forEach(({ digit, accepted }, index) => {
    const glyph = document.createElement("span");
    glyph.textContent = digit;
    glyph.className = accepted ? "sure" : "guess";
    glyph.classList.toggle("apart", index > 0 && starts.has(index));
    line.append(glyph);
  });
  return line;
}

function createBar({ label, share, chosen, guess }) {
  const bar = document.createElement("li");
  bar.classList.toggle("chosen", Boolean(chosen));
  bar.classList.toggle("guess", Boolean(chosen && guess));
  bar.classList.toggle("nothing", share === null || share < 0.005);
  bar.style.setProperty("--share", share ?? 0); // through the CSSOM, which the content security policy allows
  const texts = { label, share: share === null ? "" : formatPercent(share), column: "" };
  for (const [name, text] of Object.entries(texts)) {
    const part = document.createElement("span");
    part.className = name;
    part.textContent = text;
    bar.append(part);
  }
  return bar;
}
