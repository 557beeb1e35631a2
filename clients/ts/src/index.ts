export type * as answers from "./answers.js";
export type * as bodies from "./bodies.js";
export { type Given, type Options, type Result, Tocsin } from "./client.js";
export { BadAnswer, ProblemError, TocsinError, Unreachable, WebhookError } from "./errors.js";
export type { Operations } from "./operations.js";
export { backoff, type Retrying, RETRYING } from "./retrying.js";
export { verifyWebhook, type WebhookEvent } from "./webhooks.js";
