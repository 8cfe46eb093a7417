// Draws on the pad with the keyboard: the arrow keys move the pen, and Space puts it down or lifts it.

const STEP = 0.04; // of the pad's side
const MOVES = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

export class KeyboardPen {
  #pad;
  #at = [0.5, 0.3];
  #isDown = false;

  constructor(pad, canvas) {
    this.#pad = pad;
    canvas.addEventListener("keydown", (event) => this.#handle(event));
    canvas.addEventListener("focus", () => canvas.matches(":focus-visible") && pad.showPen(this.#at));
    canvas.addEventListener("blur", () => {
      this.#lift();
      pad.showPen(null);
    });
  }

  #handle(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === " ") {
      if (this.#isDown) this.#lift();
      else {
        this.#isDown = true;
        this.#pad.beginStroke(this.#at);
      }
    } else if (event.key in MOVES) {
      this.#at = this.#at.map((value, axis) => Math.min(1, Math.max(0, value + STEP * MOVES[event.key][axis])));
      if (this.#isDown) this.#pad.extendStroke([this.#at]);
    } else return;
    event.preventDefault(); // no scrolling
    this.#pad.showPen(this.#at);
  }

  #lift() {
    if (this.#isDown) this.#pad.endStroke();
    this.#isDown = false;
  }
}
