// Errors as the page shows them: a title, what the user can do, and the detail that the service sent.

export const FORMAT_ADVICE =
  "Choose a PNG, JPEG, WebP, BMP or GIF file. For a HEIC photo of an iPhone, open this page in Safari, or save the " +
  "photo as JPEG. To take JPEG photos, choose Settings, Camera, Formats, Most Compatible.";

export class PageError extends Error {
  // retryAfter: seconds until the page retries; null if it should not retry by itself.
  // canRetry: whether to show the "Try again" button.
  // isUnreachable: whether the request got no answer at all.
  constructor(title, options = {}) {
    super(title);
    const { detail = "", advice = "", status = 0, retryAfter = null, requestId = "" } = options;
    const { canRetry = false, isUnreachable = false } = options;
    Object.assign(this, { title, detail, advice, status, retryAfter, requestId, canRetry, isUnreachable });
  }

  // From a finished XMLHttpRequest. Its body is problem+json (RFC 9457) if the service sent it, and not a proxy.
  static fromResponse(request, hasKey) {
    const problem = parseProblem(request);
    const { status } = request;
    return new PageError(titleFor(status, hasKey) ?? problem.title ?? `The service answered with status ${status}.`, {
      detail: status === 401 ? "" : (problem.detail ?? ""), // the detail of a 401 is written for programs
      advice: ADVICE[status] ?? "",
      status,
      retryAfter: status === 503 ? parseRetryAfter(request.getResponseHeader("Retry-After")) : null,
      requestId: problem.request_id ?? request.getResponseHeader("X-Request-ID") ?? "",
      canRetry: status >= 500 || status === 429 || status === 408,
    });
  }

  // From a request that got no answer.
  static unreachable(error) {
    if (error.name === "TimeoutError") {
      return new PageError("The service did not answer within a minute.", {
        advice: "Try again, or send a smaller picture.",
        canRetry: true,
      });
    }
    return new PageError(navigator.onLine ? "The service cannot be reached." : "You are offline.", {
      detail: navigator.onLine ? "It may be down, or the connection may be broken." : "",
      advice: "Your picture stays here, and is read as soon as the connection returns.",
      canRetry: true,
      isUnreachable: true,
    });
  }
}

function parseProblem(request) {
  try {
    return request.getResponseHeader("Content-Type")?.includes("json") ? JSON.parse(request.responseText) : {};
  } catch {
    return {};
  }
}

function titleFor(status, hasKey) {
  if (status === 401) return hasKey ? "This API key is not valid." : "This service requires an API key.";
  if (status === 413) return "The picture is too large for this service.";
  if (status === 504) return "The answer took too long.";
  return undefined;
}

const ADVICE = {
  401: "Ask the operator for an API key and enter it here.",
  408: "Try again. A smaller picture uploads faster.",
  413: "Choose a smaller picture, or save it as JPEG.",
  415: FORMAT_ADVICE,
  422: "Choose another picture, or take a new photo.",
  429: "Wait a moment, then try again.",
  500: "Try again. If it fails again, report the request number below.",
  504: "Try again in a moment.",
};

// Retry-After is a number of seconds or a date. Returns seconds, from 1 to 60.
function parseRetryAfter(header) {
  const number = /^\d+$/.test(header ?? "") ? Number(header) : (Date.parse(header) - Date.now()) / 1000;
  return Number.isFinite(number) ? Math.min(60, Math.max(1, Math.ceil(number))) : 1;
}
