// The panel that shows the answer: one digit or a whole number, how sure the model is, and why it may be unreliable.

const SPEECH_DELAY_MS = 700; // a screen reader announces an answer once it is stable, not ten times during a stroke
const DIGITS = [...Array(10).keys()];

const element = (id) => document.getElementById(id);

export class Answer {
  #speechTimer = null;

  showIdle() {
    const why = "Draw on the pad, or choose an example.";
    this.#show({ state: "idle", digit: "?", judgement: "Nothing to read yet", why });
    this.#showBars(DIGITS.map((digit) => ({ label: digit, share: null })));
    this.#showTiming(null);
    this.showPreview(null);
    this.#speak("");
  }

  // prediction: the answer of POST /predict.
  showDigit(prediction, timing) {
    const { digit, accepted, reason, confidence, probabilities, input } = prediction;
    const [judgement, why] = accepted
      ? ["Accepted", `${formatPercent(confidence)} sure.`]
      : describeReason(reason, digit, probabilities);
    this.#show({ state: accepted ? "accepted" : "doubtful", digit: digit ?? "–", judgement, why, reason });
    const guess = !accepted;
    this.#showBars(
      DIGITS.map((each) => ({ label: each, share: probabilities[each] ?? null, chosen: each === digit, guess })),
    );
    this.#showTiming(timing);
    element("treatment").textContent = describeInput(input);
    element("model").textContent = prediction.model;
    this.#speak(digit === null ? `${judgement}. ${why}` : `${digit}. ${judgement}. ${why}`);
  }

  // reading: the answer of POST /read.
  showNumber(reading, timing) {
    const { text, accepted, confidence, lines } = reading;
    const digits = lines.flatMap((line) => line.digits);
    const doubtful = digits.filter((digit) => !digit.accepted).length;
    let judgement = "Accepted";
    let why = confidence === null ? "" : `${formatPercent(confidence)} sure of the whole number.`;
    if (digits.length === 0) [judgement, why] = describeReason("blank");
    else if (!accepted) {
      judgement = "Not sure of every digit";
      why = `${doubtful === 1 ? "The outlined digit is" : "The outlined digits are"} only the best guess.`;
    }
    this.#show({ state: accepted ? "accepted" : "doubtful", digit: "–", lines, judgement, why });
    this.#showBars(
      digits.map((each) => ({ label: each.digit, share: each.confidence, chosen: true, guess: !each.accepted })),
    );
    this.#showTiming(timing);
    element("model").textContent = reading.model;
    this.#speak(`${text.replaceAll("\n", ", ").replaceAll(/\d(?=\d)/g, "$& ")}. ${judgement}. ${why}`);
  }

  // Shows the 28x28 picture that the network saw, or clears the canvas if there is no preview.
  async showPreview(prediction) {
    const canvas = element("preview");
    const context = canvas.getContext("2d");
    if (!prediction?.preview) {
      context.clearRect(0, 0, 28, 28);
      canvas.setAttribute("aria-label", "What the network saw: nothing yet");
      element("treatment").textContent = "28 × 28 grey pixels, white on black.";
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
    large.replaceChildren(...(lines?.length ? lines.map(createLine) : [String(digit)]));
    const longest = Math.max(1, ...(lines ?? []).map((line) => line.digits.length));
    large.style.setProperty("--length", longest);
    large.style.setProperty("--lines", lines?.length || 1);
    element("judgement").textContent = judgement;
    element("why").textContent = why;
    element("as-number").hidden = reason !== "several_digits";
  }

  #showBars(shares) {
    const list = element("bars");
    while (list.children.length > shares.length) list.lastChild.remove();
    while (list.children.length < shares.length) list.append(createBar());
    shares.forEach(({ label, share, chosen, guess }, index) => {
      const bar = list.children[index];
      bar.classList.toggle("chosen", Boolean(chosen));
      bar.classList.toggle("guess", Boolean(chosen && guess));
      bar.classList.toggle("nothing", share === null || share < 0.005);
      bar.style.setProperty("--share", share ?? 0); // through the CSSOM, which the content security policy allows
      bar.querySelector(".label").textContent = label;
      bar.querySelector(".share").textContent = share === null ? "" : roundPercent(share);
    });
  }

  #showTiming(timing) {
    const { roundTrip, parts } = timing ?? { parts: [] };
    const total = parts.reduce((sum, [, duration]) => sum + duration, 0);
    const inside = parts.map(([name, duration]) => `${name} ${formatMs(duration)}`).join(", ");
    element("timing").textContent = timing
      ? `${formatMs(roundTrip)} ms round trip` +
        (parts.length ? `; ${formatMs(total)} ms in the service (${inside})` : "")
      : "";
  }

  #speak(text) {
    clearTimeout(this.#speechTimer);
    this.#speechTimer = setTimeout(() => {
      element("spoken").textContent = text;
    }, SPEECH_DELAY_MS);
  }
}

// Returns the judgement and the explanation for an answer that was not accepted.
function describeReason(reason, digit, probabilities) {
  if (reason === "blank") return ["Blank", "No readable ink was found. Write larger or darker."];
  if (reason === "unread_ink") return ["Not all was read", "Some ink in the picture is part of no digit."];
  const best = withArticle(digit);
  if (reason === "several_digits")
    return ["More than one digit", `The largest looks like ${best}. You can read them all as one number.`];
  if (reason === "not_a_digit")
    return ["Not a digit", `It looks unlike any digit the network has learnt. If it is one, it is most likely ${best}.`];
  const second = probabilities.indexOf(Math.max(...probabilities.filter((_, index) => index !== digit)));
  return ["Not sure", `Most likely ${best}, perhaps ${withArticle(second)}.`];
}

function describeInput({ format, width, height, inverted, normalized }) {
  const steps = [];
  if (inverted) steps.push("inverted to white on black");
  if (normalized) steps.push("cropped, scaled to 20 × 20 and centred");
  return `From a ${format} of ${width} × ${height}: ${steps.length ? steps.join(", ") : "used unchanged"}.`;
}

function createLine({ digits }) {
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

function createBar() {
  const bar = document.createElement("li");
  for (const name of ["label", "share", "column"]) {
    const part = document.createElement("span");
    part.className = name;
    bar.append(part);
  }
  return bar;
}

const withArticle = (digit) => (digit === 8 ? "an 8" : `a ${digit}`);
const formatMs = (duration) => duration.toFixed(duration < 10 ? 1 : 0);
const roundPercent = (share) => (share > 0.995 && share < 1 ? ">99%" : `${Math.round(100 * share)}%`);

// Never shows 100 % for a share below 1.
function formatPercent(share) {
  if (share > 0.9995 && share < 1) return "More than 99.9 %";
  return `${(100 * share).toFixed(1)} %`;
}
