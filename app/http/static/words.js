// What the page says about an answer, for people who know nothing of neural networks.

export const withArticle = (digit) => (digit === 8 ? "an 8" : `a ${digit}`);

// Never 100 %: no answer is certain.
export function formatPercent(share) {
  if (share > 0.99) return ">99%";
  return share < 0.01 ? "<1%" : `${Math.round(100 * share)}%`;
}

const BLANK = { sentence: "I see nothing to read.", advice: "Write larger or darker." };

// prediction: the answer of POST /predict.
export function describePrediction({ digit, accepted, reason, confidence, probabilities }) {
  if (accepted) return { sentence: `This is ${withArticle(digit)}.`, certainty: "I'm sure.", advice: "" };
  if (reason === "blank") return BLANK;
  if (reason === "not_a_digit")
    return {
      sentence: "I can't read this as a digit.",
      advice: `If it is one, it looks most like ${withArticle(digit)}.`,
    };
  if (reason === "several_digits")
    return { sentence: "This is more than one digit.", advice: `The largest looks like ${withArticle(digit)}.` };
  const second = probabilities.indexOf(Math.max(...probabilities.filter((_, index) => index !== digit)));
  const likely = confidence > 0.5 ? "Probably" : "Maybe";
  return { sentence: `${likely} ${withArticle(digit)}, maybe ${withArticle(second)}.`, advice: "Please check." };
}

// reading: the answer of POST /read.
export function describeReading({ accepted, reason, lines, input }) {
  if (lines.length === 0) return BLANK;
  const doubtful = lines.flatMap((line) => line.digits).filter((digit) => !digit.accepted).length;
  const text = lines.length === 1 ? lines[0].numbers.join(" ") : `${lines.length} lines`;
  const turned = input.rotation ? ` I turned the picture by ${input.rotation}°.` : "";
  if (accepted) return { sentence: `I read ${text}.`, certainty: "I'm sure.", advice: turned.trim() };
  if (reason === "unread_ink" && doubtful === 0)
    return { sentence: "I could not read all the ink.", advice: `Please check the picture.${turned}` };
  const outlined = doubtful === 1 ? "the outlined digit" : "the outlined digits";
  return { sentence: `I'm not sure of ${outlined}.`, advice: `Please check.${turned}` };
}

// What was done to the picture before the network read it.
export function describeInput({ format, width, height, inverted, normalized }) {
  const steps = [];
  if (normalized) steps.push("The digit was cut out, scaled to 20 × 20 pixels and centred.");
  if (inverted) steps.push("Dark and light were swapped.");
  return `28 × 28 grey pixels, from a ${format} of ${width} × ${height}. ${steps.join(" ")}`;
}

// timing: round trip and the parts inside the service, in milliseconds.
export function describeTiming({ roundTrip, parts }) {
  const names = { decode: "opening the picture", queue: "waiting", infer: "reading" };
  const inside = parts.map(([name, duration]) => `${names[name] ?? name} ${formatMs(duration)} ms`).join(", ");
  return `Answered in ${formatMs(roundTrip)} ms${inside && `: ${inside}, and the rest on the way`}.`;
}

const formatMs = (duration) => duration.toFixed(duration < 10 ? 1 : 0);
