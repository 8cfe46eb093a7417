// Where the evidence lies: orange over what speaks for a digit, blue over what speaks against it. The pair can be told
// apart with every usual kind of colour blindness.

const FOR = [255, 140, 26];
const AGAINST = [64, 156, 255];

// Draws evidence, 28 rows of 28 numbers in [-1, 1], over a canvas of 28x28.
export function drawEvidence(canvas, evidence) {
  const context = canvas.getContext("2d");
  const picture = context.getImageData(0, 0, 28, 28);
  evidence.flat().forEach((value, index) => {
    const colour = value > 0 ? FOR : AGAINST;
    const strength = Math.min(1, Math.abs(value)) ** 0.7; // so that weak evidence is seen, too
    for (const channel of [0, 1, 2]) {
      const at = 4 * index + channel;
      picture.data[at] = (1 - strength) * 0.6 * picture.data[at] + strength * colour[channel];
    }
    picture.data[4 * index + 3] = 255;
  });
  context.putImageData(picture, 0, 0);
}
