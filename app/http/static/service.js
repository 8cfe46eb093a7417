// The client of this page's service. All addresses are relative to the page, so it works under any path of a proxy.

import { PageError } from "./errors.js";

export class Service {
  key = ""; // the API key if the service requires one; kept in memory only

  // Posts a picture. Returns the answer and its timing. Throws PageError, or AbortError if the caller aborted.
  // onProgress: gets the share of the body that was sent. XMLHttpRequest reports it, and fetch does not.
  async post(path, body, signal, onProgress = () => {}) {
    const request = new XMLHttpRequest();
    request.open("POST", path);
    request.setRequestHeader("Accept", "application/json");
    const type = typeof body === "string" ? "application/json" : body.type;
    request.setRequestHeader("Content-Type", /^image|json/.test(type) ? type : "application/octet-stream");
    if (this.key) request.setRequestHeader("X-API-Key", this.key);
    request.upload.onprogress = ({ loaded, total }) => onProgress(loaded / total);
    const started = performance.now();
    await complete(request, body, signal);
    if (request.status !== 200) throw PageError.fromResponse(request, this.key !== "");
    const roundTrip = performance.now() - started;
    const parts = parseServerTiming(request.getResponseHeader("Server-Timing"));
    return { answer: JSON.parse(request.responseText), timing: { roundTrip, parts } };
  }

  // Returns what the service is running, or null if it does not say.
  async getInfo() {
    const headers = this.key ? { "X-API-Key": this.key } : {};
    const response = await fetch("info", { headers }).catch(() => null);
    return response?.ok ? response.json() : null;
  }
}

function complete(request, body, signal) {
  return new Promise((resolve, reject) => {
    const abort = () => {
      request.abort();
      reject(signal.reason.name === "AbortError" ? signal.reason : PageError.unreachable(signal.reason));
    };
    signal.addEventListener("abort", abort, { once: true });
    request.onload = resolve;
    request.onerror = () => reject(PageError.unreachable(new TypeError("no connection")));
    request.send(body);
  });
}

// "decode;dur=0.110, infer;dur=0.093" -> [["decode", 0.11], ["infer", 0.093]], in milliseconds
function parseServerTiming(header) {
  return (header ?? "")
    .split(",")
    .map((part) => /^\s*([\w-]+).*;\s*dur=([\d.]+)/.exec(part))
    .filter(Boolean)
    .map(([, name, duration]) => [name, Number(duration)]);
}
