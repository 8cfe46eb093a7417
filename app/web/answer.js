// The panel that shows what was read: one digit or a whole number, how sure it is, and why it may not be relied on.

const SETTLED = 700; // ms without a change until an answer is spoken, so that a stroke is not spoken ten times

const element = (id) => document.getElementById(id);

export class Answer {
  #speech = null;

  idle() {
    this.#show({ state: "idle", digit: "?", judgement: "Nothing to read yet", why: "Draw on the pad, or choose an example." });
    this.#bars(range10().map((digit) => ({ label: digit, share: null })));
    this.#time(null);
    this.preview(null);
    this.#say("");
  }

  // An answer of POST /predict.
  digit(prediction, timing) {
    const { digit, accepted, reason, confidence, probabilities, input } = prediction;
    const [judgement, why] = accepted ? ["Accepted", `${percent(confidence)} sure.`] : words(reason, digit, probabilities);
    this.#show({ state: accepted ? "accepted" : "doubtful", digit: digit ?? "–", judgement, why, reason });
    this.#bars(range10().map((each) => ({ label: each, share: probabilities[each] ?? null, chosen: each === digit, guess: !accepted })));
    this.#time(timing);
    element("treatment").textContent = treatment(input);
    element("model").textContent = prediction.model;
    this.#say(digit === null ? `${judgement}. ${why}` : `${digit}. ${judgement}. ${why}`);
  }

  // An answer of POST /read.
  number(reading, timing) {
    const { text, accepted, confidence, lines } = reading;
    const digits = lines.flatMap((line) => line.digits);
    const doubtful = digits.filter((digit) => !digit.accepted).length;
    let [judgement, why] = ["Accepted", confidence === null ? "" : `${percent(confidence)} sure of all of it.`];
    if (digits.length === 0) [judgement, why] = words("blank");
    else if (!accepted) {
      judgement = "Not all of it is sure";
      why = `${doubtful === 1 ? "The digit that is drawn as an outline is" : "The digits that are drawn as outlines are"} only the best guess.`;
    }
    this.#show({ state: accepted ? "accepted" : "doubtful", digit: "–", lines, judgement, why });
    this.#bars(digits.map((digit) => ({ label: digit.digit, share: digit.confidence, chosen: true, guess: !digit.accepted })));
    this.#time(timing);
    element("model").textContent = reading.model;
    this.#say(`${text.replaceAll("\n", ", ").replaceAll(/\d(?=\d)/g, "$& ")}. ${judgement}. ${why}`);
  }

  // Shows the 28x28 picture that the network saw, as squares; without one, none.
  async preview(prediction) {
    const canvas = element("preview");
    const context = canvas.getContext("2d");
    if (!prediction?.preview) {
      context.clearRect(0, 0, 28, 28);
      canvas.setAttribute("aria-label", "What the network saw: nothing yet");
      element("treatment").textContent = "28 × 28 grey pixels, light on black.";
      return;
    }
    const image = new Image();
    image.src = prediction.preview;
    await image.decode();
    context.drawImage(image, 0, 0);
    canvas.setAttribute("aria-label", `What the network saw: ${prediction.digit ?? "no ink"}`);
  }

  #show({ state, digit, lines, judgement, why, reason }) {
    const panel = element("answer");
    panel.dataset.state = state;
    panel.dataset.reason = reason ?? "";
    const large = element("digit");
    large.replaceChildren(...(lines?.length ? lines.map(lineOf) : [String(digit)]));
    const longest = Math.max(1, ...(lines ?? []).map((line) => line.digits.length));
    large.style.setProperty("--length", longest);
    large.style.setProperty("--lines", lines?.length || 1);
    element("judgement").textContent = judgement;
    element("why").textContent = why;
    element("as-number").hidden = reason !== "several_digits";
  }

  #bars(shares) {
    const list = element("bars");
    while (list.children.length > shares.length) list.lastChild.remove();
    while (list.children.length < shares.length) list.append(newBar());
    shares.forEach(({ label, share, chosen, guess }, index) => {
      const bar = list.children[index];
      bar.classList.toggle("chosen", Boolean(chosen));
      bar.classList.toggle("guess", Boolean(chosen && guess));
      bar.classList.toggle("nothing", share === null || share < 0.005);
      bar.style.setProperty("--share", share ?? 0); // of the CSSOM, which the policy allows
      bar.querySelector(".label").textContent = label;
      bar.querySelector(".share").textContent = share === null ? "" : rounded(share);
    });
  }

  #time(timing) {
    const { roundTrip, parts } = timing ?? { parts: [] };
    const total = parts.reduce((sum, [, duration]) => sum + duration, 0);
    const inside = parts.map(([name, duration]) => `${name} ${milliseconds(duration)}`).join(", ");
    element("timing").textContent = timing
      ? `${milliseconds(roundTrip)} ms there and back` + (parts.length ? `; ${milliseconds(total)} ms in the service (${inside})` : "")
      : "";
  }

  #say(text) {
    clearTimeout(this.#speech);
    this.#speech = setTimeout(() => {
      element("spoken").textContent = text;
    }, SETTLED);
  }
}

function words(reason, digit, probabilities) {
  if (reason === "blank") return ["Blank", "There is no ink on it that could be read. Write larger or darker."];
  if (reason === "several_digits") return ["More than one digit", `The largest looks like ${aDigit(digit)}. All of them can be read as a number.`];
  if (reason === "not_a_digit") return ["Not a digit", `It is like nothing that the network learnt. If it is a digit, then most likely ${aDigit(digit)}.`];
  const second = probabilities.indexOf(Math.max(...probabilities.filter((_, index) => index !== digit)));
  return ["Not sure", `Most likely ${aDigit(digit)}, perhaps ${aDigit(second)}.`];
}

function treatment({ format, width, height, inverted, normalized }) {
  const done = [];
  if (inverted) done.push("made light on black");
  if (normalized) done.push("cut out, fitted into 20 × 20 and centred");
  return `Made of a ${format} of ${width} × ${height}: ${done.length ? done.join(", ") : "taken as it is"}.`;
}

function lineOf({ digits }) {
  const line = document.createElement("span");
  line.className = "line";
  for (const { digit, accepted } of digits) {
    const glyph = document.createElement("span");
    glyph.textContent = digit;
    glyph.className = accepted ? "sure" : "guess";
    line.append(glyph);
  }
  return line;
}

function newBar() {
  const bar = document.createElement("li");
  for (const name of ["label", "share", "column"]) {
    const part = document.createElement("span");
    part.className = name;
    bar.append(part);
  }
  return bar;
}

const range10 = () => [...Array(10).keys()];
const aDigit = (digit) => (digit === 8 ? "an 8" : `a ${digit}`);
const milliseconds = (duration) => duration.toFixed(duration < 10 ? 1 : 0);

const rounded = (share) => (share > 0.995 && share < 1 ? ">99%" : `${Math.round(100 * share)}%`);

// Never 100 % of what is only nearly so.
function percent(share) {
  if (share > 0.9995 && share < 1) return "More than 99.9 %";
  return `${(100 * share).toFixed(1)} %`;
}
