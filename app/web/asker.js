// Asks a question anew whenever something changed, with one request under way at a time.

const PAUSE = 120; // ms from a change to its request, so that a stroke is not a request a point
const PATIENCE = 60_000; // ms until no answer is expected any more

export class Asker {
  #question; // async (signal, isCurrent): asks, and shows the answer
  #failed; // (error): shows that
  #busy; // (whether a request is under way)
  #controller = null; // of the request under way
  #timer = null;
  #changed = false; // since the request under way was made

  constructor(question, failed, busy) {
    this.#question = question;
    this.#failed = failed;
    this.#busy = busy;
  }

  // More of the same: it is asked after a pause, and after the answer under way has come.
  more() {
    if (this.#controller) this.#changed = true;
    else this.#timer ??= setTimeout(() => this.#ask(), PAUSE);
  }

  // Something else: what is under way is of no interest any more, and its answer is dropped.
  anew() {
    this.drop();
    this.#ask();
  }

  drop() {
    clearTimeout(this.#timer);
    this.#timer = null;
    this.#changed = false;
    this.#controller?.abort();
    this.#controller = null;
    this.#busy(false);
  }

  async #ask() {
    this.#timer = null;
    const controller = new AbortController();
    const isCurrent = () => this.#controller === controller;
    this.#controller = controller;
    this.#changed = false;
    this.#busy(true);
    const patience = setTimeout(() => controller.abort(new DOMException("", "TimeoutError")), PATIENCE);
    try {
      await this.#question(controller.signal, isCurrent);
    } catch (error) {
      if (isCurrent()) this.#failed(error);
    } finally {
      clearTimeout(patience);
      if (isCurrent()) {
        this.#controller = null;
        this.#busy(false);
        if (this.#changed) this.more();
      }
    }
  }
}
