// Draws the strongest evidence for a digit: orange where a pixel supports it, blue where a pixel counts against it.
// People with any common colour blindness can tell the two apart.

const FOR = [255, 140, 26];
const AGAINST = [64, 156, 255];
const SIDE = 28;
const STRONGEST = 50; // pixels to draw: nearly every pixel speaks for a clear digit, and so all of them say nothing
const OPACITY = { strongest: 0.85, weakest: 0.4 }; // of these pixels; the ink below stays visible
const INK = 64; // pixels of the preview that are lighter are ink

// Returns a canvas of 28x28 with the evidence, 28 rows of 28 numbers in [-1, 1]. All but the strongest are transparent.
export function drawEvidence(evidence) {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = SIDE;
  const context = canvas.getContext("2d");
  const map = context.createImageData(SIDE, SIDE);
  const values = evidence.flat();
  const magnitudes = values.map(Math.abs).sort((one, other) => other - one);
  const [strongest, weakest] = [magnitudes[0], magnitudes[STRONGEST - 1]];
  values.forEach((value, index) => {
    if (value === 0 || Math.abs(value) < weakest) return;
    const weakness = (strongest - Math.abs(value)) / (strongest - weakest || 1);
    const opacity = OPACITY.strongest + weakness * (OPACITY.weakest - OPACITY.strongest);
    map.data.set([...(value > 0 ? FOR : AGAINST), 255 * opacity], 4 * index);
  });
  context.putImageData(map, 0, 0);
  return canvas;
}

// Returns where the 28x28 pixels that the network saw lie on the picture that was sent, as fractions of it.
// preview: a canvas with these pixels.
export function locatePreview({ box, width, height }, preview) {
  if (!box) return { left: 0, top: 0, width: 1, height: 1 }; // the network saw the whole picture
  const { data } = preview.getContext("2d").getImageData(0, 0, SIDE, SIDE);
  const [columns, rows] = [[], []];
  for (let index = 0; index < SIDE * SIDE; index += 1) {
    if (data[4 * index] <= INK) continue;
    columns.push(index % SIDE);
    rows.push(Math.floor(index / SIDE));
  }
  const [left, top] = [Math.min(...columns), Math.min(...rows)];
  const inkSide = Math.max(Math.max(...columns) - left, Math.max(...rows) - top) + 1;
  const scale = Math.max(box.width, box.height) / inkSide; // pixels of the picture per pixel of the preview
  return {
    left: (box.left - left * scale) / width,
    top: (box.top - top * scale) / height,
    width: (SIDE * scale) / width,
    height: (SIDE * scale) / height,
  };
}
