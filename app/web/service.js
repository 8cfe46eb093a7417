// The service that this page belongs to, at addresses relative to the page: it may be under any path of a proxy.

import { Trouble } from "./trouble.js";

export class Service {
  key = ""; // the API key, if it asks for one: in this page's memory alone

  // Posts a picture. Gives the answer, and the time that it took; throws Trouble, or AbortError where nobody waits.
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
      throw Trouble.unreachable(signal.aborted ? signal.reason : error);
    }
    if (!response.ok) throw await Trouble.of(response, this.key !== "");
    const roundTrip = performance.now() - started;
    return { answer, timing: { roundTrip, parts: partsOf(response.headers.get("Server-Timing")) } };
  }
}

// "decode;dur=0.110, infer;dur=0.093" -> [["decode", 0.11], ["infer", 0.093]], in milliseconds
function partsOf(header) {
  return (header ?? "")
    .split(",")
    .map((part) => /^\s*([\w-]+).*;\s*dur=([\d.]+)/.exec(part))
    .filter(Boolean)
    .map(([, name, duration]) => [name, Number(duration)]);
}
