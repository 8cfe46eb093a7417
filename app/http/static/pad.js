// The pad: strokes drawn with a mouse, a finger or a pen, or a picture in their place.
//
// The pad keeps a list of actions. Undo removes the last one: a stroke, a picture or a clear. Coordinates are fractions
// of the pad's side, so a drawing looks the same at any screen size. The pad does not know the service.

import { encode } from "./picture.js";

// side: pixels of the picture that is sent; stroke: width as a fraction of the side. One digit fills the pad, with a
// stroke as wide as in MNIST. A whole number has to fit on the same pad, so its strokes are thinner.
const DIGIT = { side: 280, stroke: 0.06 };
const NUMBER = { side: 840, stroke: 0.025 };

export class Pad extends EventTarget {
  #canvas;
  #actions = []; // {points, width} | {picture} | {} for a clear
  #undone = []; // actions that redo brings back
  #mode = DIGIT;
  #stroke = null; // the stroke being drawn
  #marks = []; // boxes as fractions of the picture: {left, top, width, height, doubtful}
  #overlay = null; // {canvas, left, top, width, height}, as fractions of the picture
  #pen = null; // where the keyboard's pen is

  // Events: "extend" when a stroke grows, "replace" for any other change.
  constructor(canvas) {
    super();
    this.#canvas = canvas;
    canvas.addEventListener("pointerdown", (event) => this.#begin(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, (event) => this.#end(event));
    new ResizeObserver(() => this.draw()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  // What is on the pad: strokes or a picture.
  get content() {
    let strokes = [];
    let picture = null;
    for (const action of this.#actions) {
      if (action.points) {
        strokes = picture ? [action] : [...strokes, action];
        picture = null;
      } else {
        strokes = [];
        picture = action.picture ?? null;
      }
    }
    return { strokes, picture };
  }

  set wholeNumber(whole) {
    this.#mode = whole ? NUMBER : DIGIT;
  }

  get isEmpty() {
    const { strokes, picture } = this.content;
    return strokes.length === 0 && picture === null;
  }

  get canUndo() {
    return this.#actions.length > 0;
  }

  get canRedo() {
    return this.#undone.length > 0;
  }

  show(picture) {
    this.#do({ picture });
  }

  clear() {
    if (!this.isEmpty) this.#do({});
  }

  undo() {
    if (!this.canUndo || this.#stroke) return;
    this.#undone.push(this.#actions.pop());
    this.#notify("replace");
  }

  redo() {
    if (!this.canRedo || this.#stroke) return;
    this.#actions.push(this.#undone.pop());
    this.#notify("replace");
  }

  // Draws boxes until the content changes.
  mark(boxes) {
    this.#marks = boxes;
    this.draw();
  }

  // Draws a canvas over the picture until the content changes; null removes it. place: fractions of the picture.
  cover(canvas, place = {}) {
    this.#overlay = canvas && { canvas, ...place };
    this.draw();
  }

  // Shows where the keyboard's pen is, as fractions of the pad; null hides it.
  showPen(at) {
    this.#pen = at;
    this.draw();
  }

  // A stroke's points are fractions of the pad: [x, y].
  beginStroke(point) {
    const isFirst = this.content.strokes.length === 0;
    this.#stroke = { points: [point], width: this.#mode.stroke };
    this.#actions.push(this.#stroke);
    this.#undone = [];
    this.#notify(isFirst ? "replace" : "extend");
  }

  extendStroke(points) {
    this.#stroke.points.push(...points);
    this.#notify("extend");
  }

  endStroke() {
    this.#stroke = null;
    this.#notify("extend");
  }

  // Returns the content as an image file, always black on white, also in dark mode.
  async toBlob() {
    const { strokes, picture } = this.content;
    if (picture) return picture.blob;
    const canvas = document.createElement("canvas");
    const side = (canvas.width = canvas.height = this.#mode.side);
    const context = canvas.getContext("2d");
    context.fillStyle = "#fff";
    context.fillRect(0, 0, side, side);
    drawStrokes(context, strokes, side, "#000");
    return encode(canvas, "image/png");
  }

  draw() {
    const canvas = this.#canvas;
    const side = Math.round(canvas.clientWidth * devicePixelRatio);
    if (canvas.width !== side) canvas.width = canvas.height = side;
    const style = getComputedStyle(canvas);
    const context = canvas.getContext("2d");
    context.clearRect(0, 0, side, side);
    const { strokes, picture } = this.content;
    const place = placePicture(picture, side);
    if (picture?.image) {
      context.imageSmoothingEnabled = place.width < picture.width * 2; // shows the pixels of a 28x28 picture as squares
      context.drawImage(picture.image, place.left, place.top, place.width, place.height);
    }
    drawStrokes(context, strokes, side, style.color);
    if (this.#overlay) drawOverlay(context, this.#overlay, place);
    drawMarks(context, this.#marks, place, style.getPropertyValue("--mark"));
    if (this.#pen) drawPen(context, this.#pen, side, style.getPropertyValue("--mark"));
  }

  #do(action) {
    this.#actions.push(action);
    this.#undone = [];
    this.#notify("replace");
  }

  #notify(event) {
    this.#marks = [];
    this.#overlay = null;
    this.draw();
    this.dispatchEvent(new Event(event));
  }

  #begin(event) {
    if (this.#stroke || event.button !== 0) return;
    event.preventDefault();
    this.#canvas.setPointerCapture(event.pointerId);
    this.beginStroke(this.#locate(event));
    this.#stroke.pointer = event.pointerId;
  }

  #move(event) {
    if (this.#stroke?.pointer !== event.pointerId) return;
    const events = event.getCoalescedEvents?.() ?? [];
    this.extendStroke((events.length ? events : [event]).map((each) => this.#locate(each)));
  }

  #end(event) {
    if (this.#stroke?.pointer === event.pointerId) this.endStroke();
  }

  #locate(event) {
    const { left, top, width, height } = this.#canvas.getBoundingClientRect();
    return [(event.clientX - left) / width, (event.clientY - top) / height];
  }
}

// Returns where a picture lies on a square pad. Strokes use the whole pad.
function placePicture(picture, side) {
  if (!picture) return { left: 0, top: 0, width: side, height: side };
  const scale = side / Math.max(picture.width, picture.height, 1);
  const [width, height] = [picture.width * scale, picture.height * scale];
  return { left: (side - width) / 2, top: (side - height) / 2, width, height };
}

function drawStrokes(context, strokes, side, colour) {
  context.strokeStyle = colour;
  context.lineCap = context.lineJoin = "round";
  for (const { points, width } of strokes) {
    context.lineWidth = width * side;
    context.beginPath();
    const [first, ...rest] = points.map(([x, y]) => [x * side, y * side]);
    if (rest.length === 0) rest.push([first[0] + 0.01, first[1]]); // a click draws a dot; a line without length is none
    context.moveTo(...first);
    let previous = first;
    for (const point of rest) {
      // Smooth the stroke: a curve from midpoint to midpoint, with the point between as its control point.
      context.quadraticCurveTo(...previous, (previous[0] + point[0]) / 2, (previous[1] + point[1]) / 2);
      previous = point;
    }
    context.lineTo(...previous);
    context.stroke();
  }
}

function drawOverlay(context, { canvas, left, top, width, height }, place) {
  context.imageSmoothingEnabled = false;
  context.drawImage(
    canvas,
    place.left + left * place.width,
    place.top + top * place.height,
    width * place.width,
    height * place.height,
  );
}

function drawPen(context, [x, y], side, colour) {
  context.strokeStyle = colour;
  context.lineWidth = 2 * devicePixelRatio;
  context.beginPath();
  context.arc(x * side, y * side, 0.035 * side, 0, 2 * Math.PI);
  context.stroke();
}

function drawMarks(context, marks, place, colour) {
  const unit = devicePixelRatio;
  context.strokeStyle = colour;
  context.lineWidth = 2 * unit;
  for (const { left, top, width, height, doubtful } of marks) {
    context.setLineDash(doubtful ? [5 * unit, 4 * unit] : []);
    context.strokeRect(
      place.left + left * place.width - 3 * unit,
      place.top + top * place.height - 3 * unit,
      width * place.width + 6 * unit,
      height * place.height + 6 * unit,
    );
  }
  context.setLineDash([]);
}
