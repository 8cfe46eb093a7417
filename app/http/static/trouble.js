// The panel that shows an error, and retries what can succeed later.

import { PageError } from "./errors.js";

const MAX_OVERLOADED = 3; // retries without the user, while the service is overloaded
const FIRST_PAUSE_S = 2; // before an unreachable service is asked again; each further pause is twice as long
const MAX_PAUSE_S = 30;

const element = (id) => document.getElementById(id);

export class Trouble {
  #retry; // reads the pad's content again
  #overloaded = 0; // retries in a row after a 503
  #unreachable = 0; // retries in a row without any answer
  #isUnreachable = false;
  #timer = null;

  // dismiss: called when the user closes the panel.
  constructor(retry, dismiss) {
    this.#retry = retry;
    element("again").addEventListener("click", () => {
      this.hide();
      retry();
    });
    element("dismiss").addEventListener("click", () => {
      this.hide();
      dismiss();
    });
    addEventListener("online", () => {
      if (this.#isUnreachable) this.#retry();
    });
  }

  show(error) {
    const isExpected = error instanceof PageError;
    const shown = isExpected
      ? error
      : new PageError("Something went wrong on this page.", { detail: String(error), canRetry: true });
    if (!isExpected) console.error(error);
    element("trouble").hidden = false;
    element("answer").dataset.state = "troubled";
    element("trouble-title").textContent = shown.title;
    element("trouble-detail").textContent = shown.detail;
    element("trouble-advice").textContent = shown.advice;
    element("trouble-id").textContent = shown.requestId && `Request ${shown.requestId}`;
    element("key-form").hidden = shown.status !== 401;
    element("again").hidden = !shown.canRetry;
    this.#isUnreachable = Boolean(shown.isUnreachable);
    if (shown.status === 503) this.#retryWhenIdle(shown.retryAfter);
    if (shown.isUnreachable)
      this.#schedule(Math.min(MAX_PAUSE_S, FIRST_PAUSE_S * 2 ** this.#unreachable), () => (this.#unreachable += 1));
  }

  // Hides the panel and forgets the retries: the user acted, or there is an answer.
  hide() {
    clearTimeout(this.#timer);
    this.#overloaded = this.#unreachable = 0;
    this.#isUnreachable = false;
    element("trouble").hidden = element("key-form").hidden = element("again").hidden = true;
  }

  // Retries a few times, after the time that the service asked for.
  #retryWhenIdle(seconds) {
    if (this.#overloaded >= MAX_OVERLOADED) {
      element("trouble-advice").textContent = "The service is still overloaded. Try again in a minute.";
      return;
    }
    element("trouble-advice").textContent = `Trying again in ${seconds} s.`;
    this.#schedule(seconds, () => (this.#overloaded += 1));
  }

  // count: counts the retry when it begins. Requests that fail because the user goes on drawing are no retries.
  #schedule(seconds, count) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      count();
      this.#retry();
    }, seconds * 1000);
  }
}
