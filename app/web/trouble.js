// What went wrong, in words for the person at the page: a title, what to do, and what the service said of it.

export class Trouble extends Error {
  // retryAfter: seconds until it is worth trying again; null where it is not worth it by itself.
  constructor(title, { detail = "", advice = "", status = 0, retryAfter = null, requestId = "", again = false } = {}) {
    super(title);
    Object.assign(this, { title, detail, advice, status, retryAfter, requestId, again });
  }

  // An answer of the service that is no success; its body is a problem (RFC 9457) if it comes from the service itself.
  static async of(response, keyGiven) {
    let problem = {};
    if (response.headers.get("Content-Type")?.includes("json")) problem = await response.json().catch(() => ({}));
    const { status } = response;
    return new Trouble(titleOf(status, keyGiven) ?? problem.title ?? `The service answered ${status}.`, {
      detail: status === 401 ? "" : (problem.detail ?? ""), // that is for programs
      advice: ADVICE[status] ?? "",
      status,
      retryAfter: status === 503 ? seconds(response.headers.get("Retry-After")) : null,
      requestId: problem.request_id ?? response.headers.get("X-Request-ID") ?? "",
      again: status >= 500 || status === 429 || status === 408,
    });
  }

  // No answer at all.
  static unreachable(error) {
    if (error.name === "TimeoutError") {
      return new Trouble("No answer came within a minute.", { advice: "Try again, or send a smaller picture.", again: true });
    }
    return new Trouble(navigator.onLine ? "The service cannot be reached." : "You are offline.", {
      advice: navigator.onLine ? "It may be stopped, or the way to it broken. Try again in a moment." : "Connect, and try again.",
      again: true,
    });
  }
}

function titleOf(status, keyGiven) {
  if (status === 401) return keyGiven ? "That key is not valid here." : "This service asks for a key.";
  if (status === 413) return "The picture is too large for this service.";
  if (status === 504) return "The answer took too long.";
  return undefined;
}

const ADVICE = {
  401: "Ask whoever runs it for an API key, and enter it here.",
  408: "Try again; a smaller picture is sent sooner.",
  413: "Choose a smaller one, or save it as JPEG.",
  422: "Choose another picture, or take a new photo.",
  429: "Wait a moment, then try again.",
  500: "Try again. If that does not help, report it with the number below.",
  504: "Try again in a moment.",
};

// Retry-After is a number of seconds or a date.
function seconds(header) {
  const number = /^\d+$/.test(header ?? "") ? Number(header) : (Date.parse(header) - Date.now()) / 1000;
  return Number.isFinite(number) ? Math.min(60, Math.max(1, Math.ceil(number))) : 1;
}
