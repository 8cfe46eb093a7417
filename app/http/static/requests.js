// Sends a request whenever the drawing changes, with at most one request in flight.

const REQUEST_INTERVAL_MS = 120; // from a change to its request, so that a stroke does not send a request per point
const TIMEOUT_MS = 60_000;

export class RequestScheduler {
  #send; // async (signal, isCurrent): sends the request and shows the answer
  #onError; // (error)
  #onBusy; // (whether a request is in flight)
  #controller = null; // of the request in flight
  #timer = null;
  #changed = false; // since the request in flight was sent

  constructor(send, onError, onBusy) {
    this.#send = send;
    this.#onError = onError;
    this.#onBusy = onBusy;
  }

  // The drawing was extended: send a request after a pause, and not before the request in flight is answered.
  schedule() {
    if (this.#controller) this.#changed = true;
    else this.#timer ??= setTimeout(() => this.#run(), REQUEST_INTERVAL_MS);
  }

  // The content was replaced: abort the request in flight, drop its answer, and send a new request now.
  restart() {
    this.cancel();
    this.#run();
  }

  cancel() {
    clearTimeout(this.#timer);
    this.#timer = null;
    this.#changed = false;
    this.#controller?.abort();
    this.#controller = null;
    this.#onBusy(false);
  }

  async #run() {
    this.#timer = null;
    const controller = new AbortController();
    const isCurrent = () => this.#controller === controller;
    this.#controller = controller;
    this.#changed = false;
    this.#onBusy(true);
    const timeout = setTimeout(() => controller.abort(new DOMException("", "TimeoutError")), TIMEOUT_MS);
    try {
      await this.#send(controller.signal, isCurrent);
    } catch (error) {
      if (isCurrent()) this.#onError(error);
    } finally {
      clearTimeout(timeout);
      if (isCurrent()) {
        this.#controller = null;
        this.#onBusy(false);
        if (this.#changed) this.schedule();
      }
    }
  }
}
