// Draws the evidence for a digit: orange where a pixel supports it, blue where a pixel counts against it. People with
// any common colour blindness can tell the two apart.

const FOR = [255, 140, 26];
const AGAINST = [64, 156, 255];

// Draws evidence, 28 rows of 28 numbers in [-1, 1], over a canvas of 28x28.
export function drawEvidence(canvas, evidence) {
  const context = canvas.getContext("2d");
  const picture = context.getImageData(0, 0, 28, 28);
  evidence.flat().forEach((value, index) => {
    const colour = value > 0 ? FOR : AGAINST;
    const strength = Math.min(1, Math.abs(value)) ** 0.7; // makes weak evidence visible
    for (const channel of [0, 1, 2]) {
      const at = 4 * index + channel;
      picture.data[at] = (1 - strength) * 0.6 * picture.data[at] + strength * colour[channel];
    }
    picture.data[4 * index + 3] = 255;
  });
  context.putImageData(picture, 0, 0);
}
