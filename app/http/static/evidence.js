// Draws the evidence for a digit: orange where a pixel supports it, blue where a pixel counts against it. People with
// any common colour blindness can tell the two apart.

const FOR = [255, 140, 26];
const AGAINST = [64, 156, 255];
const SIDE = 28;
const INK = 64; // pixels of the preview that are lighter are ink

// Returns a canvas of 28x28 with the evidence, 28 rows of 28 numbers in [-1, 1]. No evidence is transparent.
export function drawEvidence(evidence) {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = SIDE;
  const context = canvas.getContext("2d");
  const map = context.createImageData(SIDE, SIDE);
  evidence.flat().forEach((value, index) => {
    map.data.set([...(value > 0 ? FOR : AGAINST), 230 * Math.min(1, Math.abs(value))], 4 * index);
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
