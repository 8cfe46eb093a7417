// The client of this page's service. All addresses are relative to the page, so it works under any path of a proxy.

import { PageError } from "./errors.js";

export class Service {
  key = ""; // the API key if the service requires one; kept in memory only

  // Posts a picture. Returns the answer and its timing. Throws PageError, or AbortError if the caller aborted.
  async post(path, body, signal) {
    const headers = { Accept: "application/json" };
    if (typeof body === "string") headers["Content-Type"] = "application/json";
    else headers["Content-Type"] = body.type.startsWith("image/") ? body.type : "application/octet-stream";
    if (this.key) headers["X-API-Key"] = this.key;
    const started = performance.now();
    let response, answer;
    try {
      response = await fetch(path, { method: "POST", body, headers, signal });
      if (response.ok) answer = await response.json();
    } catch (error) {
      if (signal.aborted && signal.reason.name === "AbortError") throw signal.reason;
      throw PageError.unreachable(signal.aborted ? signal.reason : error);
    }
    if (!response.ok) throw await PageError.fromResponse(response, this.key !== "");
    const roundTrip = performance.now() - started;
    return { answer, timing: { roundTrip, parts: parseServerTiming(response.headers.get("Server-Timing")) } };
  }
}

// "decode;dur=0.110, infer;dur=0.093" -> [["decode", 0.11], ["infer", 0.093]], in milliseconds
function parseServerTiming(header) {
  return (header ?? "")
    .split(",")
    .map((part) => /^\s*([\w-]+).*;\s*dur=([\d.]+)/.exec(part))
    .filter(Boolean)
    .map(([, name, duration]) => [name, Number(duration)]);
}
