/** Whatever a call raises. */
export class TocsinError extends Error {
  override name = this.constructor.name;
}

/** The gateway refused it: a problem document (RFC 9457). `field`: what is to blame. */
export class ProblemError extends TocsinError {
  readonly status: number;
  readonly document: Record<string, unknown>;
  readonly type: string;
  readonly title: string;
  readonly detail: string;
  readonly field: string | undefined;
  readonly retryAfterMs: number | undefined;

  constructor(status: number, document: Record<string, unknown>, retryAfterMs?: number) {
    const field = typeof document["field"] === "string" ? document["field"] : undefined;
    const detail = String(document["detail"] ?? document["title"] ?? "no reason given");
    super(`${field === undefined ? "" : `${field}: `}${detail} (${status})`);
    this.status = status;
    this.document = document;
    this.type = String(document["type"] ?? "about:blank");
    this.title = String(document["title"] ?? "");
    this.detail = detail;
    this.field = field;
    this.retryAfterMs = retryAfterMs;
  }
}

/** No answer came in time: unless the call can be made twice, nobody knows whether it was taken. */
export class Unreachable extends TocsinError {}

/** What came isn't the gateway's. */
export class BadAnswer extends TocsinError {}

/** A call that isn't known to be Tocsin's: answer it with 401, and don't read it. */
export class WebhookError extends TocsinError {}
