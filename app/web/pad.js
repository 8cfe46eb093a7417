// The sheet that is written on: strokes of a mouse, a finger or a pen, or a picture in their place.
//
// What was done is kept as a list, so that undo takes the last of it away, be it a stroke, a picture or a clearing.
// Strokes are in shares of the side, so that they stay as they are on any screen. Knows nothing of the service.

import { encoded } from "./picture.js";

// What is written: pixels of its side as it is sent, and the width of a stroke, of the side. One digit fills the sheet, with
// a stroke as broad as MNIST's; a whole number has to fit on it.
const DIGIT = { side: 280, stroke: 0.06 };
const NUMBER = { side: 840, stroke: 0.025 };

export class Pad extends EventTarget {
  #canvas;
  #acts = []; // {points, width} | {picture} | {}, which is a clearing
  #kind = DIGIT;
  #stroke = null; // being drawn
  #marks = []; // boxes in shares of the picture: {left, top, width, height, doubtful}

  // Events: "more" for a stroke that goes on, "anew" for anything that is not.
  constructor(canvas) {
    super();
    this.#canvas = canvas;
    canvas.addEventListener("pointerdown", (event) => this.#begin(event));
    canvas.addEventListener("pointermove", (event) => this.#go(event));
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, (event) => this.#end(event));
    new ResizeObserver(() => this.draw()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  // What is on the sheet: strokes, or a picture.
  get content() {
    let strokes = [];
    let picture = null;
    for (const act of this.#acts) {
      if (act.points) {
        strokes = picture ? [act] : [...strokes, act];
        picture = null;
      } else {
        strokes = [];
        picture = act.picture ?? null;
      }
    }
    return { strokes, picture };
  }

  set wholeNumber(whole) {
    this.#kind = whole ? NUMBER : DIGIT;
  }

  get isEmpty() {
    const { strokes, picture } = this.content;
    return strokes.length === 0 && picture === null;
  }

  get canUndo() {
    return this.#acts.length > 0;
  }

  show(picture) {
    this.#act({ picture });
  }

  clear() {
    if (!this.isEmpty) this.#act({});
  }

  undo() {
    this.#acts.pop();
    this.#tell("anew");
  }

  // Marks boxes on what is shown, until something changes.
  mark(boxes) {
    this.#marks = boxes;
    this.draw();
  }

  // What is on the sheet as an image file: dark on light whatever the screen is.
  async toBlob() {
    const { strokes, picture } = this.content;
    if (picture) return picture.blob;
    const canvas = document.createElement("canvas");
    const side = (canvas.width = canvas.height = this.#kind.side);
    const context = canvas.getContext("2d");
    context.fillStyle = "#fff";
    context.fillRect(0, 0, side, side);
    drawStrokes(context, strokes, side, "#000");
    return encoded(canvas, "image/png");
  }

  draw() {
    const canvas = this.#canvas;
    const side = Math.round(canvas.clientWidth * devicePixelRatio);
    if (canvas.width !== side) canvas.width = canvas.height = side;
    const style = getComputedStyle(canvas);
    const context = canvas.getContext("2d");
    context.clearRect(0, 0, side, side);
    const { strokes, picture } = this.content;
    const place = placeOf(picture, side);
    if (picture?.image) {
      context.imageSmoothingEnabled = place.width < picture.width * 2; // a picture of 28 pixels is shown as squares
      context.drawImage(picture.image, place.left, place.top, place.width, place.height);
    }
    drawStrokes(context, strokes, side, style.color);
    drawMarks(context, this.#marks, place, style.getPropertyValue("--mark"));
  }

  #act(act) {
    this.#acts.push(act);
    this.#tell("anew");
  }

  #tell(kind) {
    this.#marks = [];
    this.draw();
    this.dispatchEvent(new Event(kind));
  }

  #begin(event) {
    if (this.#stroke || event.button !== 0) return;
    event.preventDefault();
    this.#canvas.setPointerCapture(event.pointerId);
    const fresh = this.content.strokes.length === 0;
    this.#stroke = { points: [this.#place(event)], width: this.#kind.stroke, pointer: event.pointerId };
    this.#acts.push(this.#stroke);
    this.#tell(fresh ? "anew" : "more");
  }

  #go(event) {
    if (this.#stroke?.pointer !== event.pointerId) return;
    const passed = event.getCoalescedEvents?.() ?? [];
    for (const each of passed.length ? passed : [event]) this.#stroke.points.push(this.#place(each));
    this.#tell("more");
  }

  #end(event) {
    if (this.#stroke?.pointer !== event.pointerId) return;
    this.#stroke = null;
    this.#tell("more");
  }

  #place(event) {
    const { left, top, width, height } = this.#canvas.getBoundingClientRect();
    return [(event.clientX - left) / width, (event.clientY - top) / height];
  }
}

// Where a picture is on a square sheet of a side; strokes have all of it.
function placeOf(picture, side) {
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
    context.moveTo(...first);
    let before = first;
    for (const point of rest) {
      // A curve from middle to middle, bent by the point between: no corners.
      context.quadraticCurveTo(...before, (before[0] + point[0]) / 2, (before[1] + point[1]) / 2);
      before = point;
    }
    context.lineTo(...before);
    context.stroke();
  }
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
