import type { Accepted, Cancelling } from "./answers.js";
import type { Notification } from "./bodies.js";
import { BadAnswer, ProblemError, TocsinError, Unreachable } from "./errors.js";
import type { Operations } from "./operations.js";
import { pauseAfter, retryAfterMs, RETRYING, type Retrying } from "./retrying.js";

type Name = keyof Operations;

/** What an operation is called with. `idempotent`: it may be made twice; by itself only what surely may is. */
export type Given<K extends Name> = {
  readonly query?: Partial<Record<Operations[K]["query"], string | number | boolean>>;
  readonly body?: Operations[K]["body"];
  readonly headers?: Record<string, string>;
  readonly idempotent?: boolean;
} & ([Operations[K]["path"]] extends [never]
  ? { readonly path?: undefined }
  : { readonly path: Record<Operations[K]["path"], string> });

export interface Options {
  readonly retrying?: Partial<Retrying>;
  readonly fetch?: typeof fetch;
  readonly sleep?: (ms: number) => Promise<void>;
  readonly now?: () => number;
}

/** What came of one request of many. */
export type Result = Accepted | TocsinError;

const MOST_REQUESTS = 1_000;
const MOST_BYTES = 4 << 20;
const AS_OFTEN_AS_LIKED = new Set(["GET", "HEAD", "PUT"]);
/** But each of these makes a version. */
const ONCE = new Set<Name>(["PUT /v1/templates/{id}", "PUT /v1/policy"]);

/** Calls the gateway. `key`: an API key or a user's token, or what returns the one of now. */
export class Tocsin {
  readonly #url: string;
  readonly #key: string | (() => string | Promise<string>);
  readonly #retrying: Retrying;
  readonly #fetch: typeof fetch;
  readonly #sleep: (ms: number) => Promise<void>;
  readonly #now: () => number;

  constructor(url: string, key: string | (() => string | Promise<string>), options: Options = {}) {
    const { protocol, username, search, hash } = new URL(url);
    if (!/^https?:$/.test(protocol) || username || search || hash) throw new TypeError("url is the gateway's http(s) URL");
    this.#url = url.replace(/\/+$/, "");
    this.#key = typeof key === "string" ? checkedKey(key) : key;
    this.#retrying = { ...RETRYING, ...options.retrying };
    this.#fetch = options.fetch ?? fetch;
    this.#sleep = options.sleep ?? ((ms) => new Promise((resolve) => setTimeout(resolve, ms)));
    this.#now = options.now ?? Date.now;
  }

  /** Tells users something. It has its key before the first attempt: a lost answer never makes it be sent twice. */
  async send(notification: Notification): Promise<Accepted> {
    const body = { ...notification, idempotency_key: notification.idempotency_key ?? crypto.randomUUID() };
    return this.call("POST /v1/notifications", { body, idempotent: true });
  }

  /** Each as by `send`, in as few calls as it takes; one result for each, in order. */
  async sendMany(notifications: Iterable<Notification>): Promise<Result[]> {
    const results: Result[] = [];
    for (const requests of inCalls(notifications)) {
      try {
        const answer = await this.call("POST /v1/notifications/bulk", { body: { requests }, idempotent: true });
        if (answer.results.length !== requests.length) throw new BadAnswer("there isn't one result for each request");
        results.push(...answer.results.map(resultOf));
      } catch (error) {
        if (!(error instanceof TocsinError)) throw error;
        results.push(...requests.map(() => error));
      }
    }
    return results;
  }

  /** Cancels what isn't sent yet of it. */
  async cancel(notificationId: string): Promise<Cancelling> {
    const headers = { "Idempotency-Key": crypto.randomUUID() };
    return this.call("DELETE /v1/notifications/{id}", { path: { id: notificationId }, headers, idempotent: true });
  }

  /** All items of a list that comes in pages: `items` picks them from a page. */
  async *pages<K extends Name, T>(
    operation: K,
    given: Given<K>,
    items: (page: Operations[K]["answer"]) => readonly T[],
  ): AsyncGenerator<T> {
    let cursor: string | null | undefined;
    do {
      const query = { ...given.query, ...(cursor ? { cursor } : {}) };
      const page = await this.call(operation, { ...given, query } as Given<K>);
      yield* items(page);
      cursor = (page as { next_cursor?: string | null }).next_cursor;
    } while (cursor);
  }

  /** Any operation of the API, by its method and path. */
  async call<K extends Name>(operation: K, given: Given<K>): Promise<Operations[K]["answer"]> {
    const [method = "", template = ""] = operation.split(" ");
    const isIdempotent = given.idempotent ?? (AS_OFTEN_AS_LIKED.has(method) && !ONCE.has(operation));
    const target = this.#url + pathOf(template, given.path ?? {}) + queryOf(given.query ?? {});
    const body = given.body === undefined ? null : typeof given.body === "string" ? given.body : JSON.stringify(given.body);
    const overAt = this.#now() + this.#retrying.totalMs;
    for (let attempts = 1; ; attempts += 1) {
      // Before the try: what fails here is the caller's own, and no lost answer.
      const headers = new Headers({ Authorization: `Bearer ${await this.#keyOfNow()}`, Accept: "application/json" });
      if (body !== null) headers.set("Content-Type", "application/json");
      for (const [name, value] of Object.entries(given.headers ?? {})) headers.set(name, value);
      const left = overAt - this.#now();
      let error: TocsinError;
      let pause: number | undefined;
      try {
        const signal = AbortSignal.timeout(Math.max(1, Math.min(left, this.#retrying.timeoutMs)));
        const response = await this.#fetch(target, { method, headers, body, signal, redirect: "manual" });
        const text = await response.text();
        if (response.ok) return response.status === 204 ? undefined : (parsed(text) as Operations[K]["answer"]);
        const asked = retryAfterMs(response.headers, this.#now());
        error = new ProblemError(response.status, problemOf(text), asked);
        pause = pauseAfter(this.#retrying, attempts, overAt - this.#now(), response.status, asked, isIdempotent);
      } catch (failed) {
        if (failed instanceof BadAnswer) throw failed;
        error = new Unreachable(`the gateway didn't answer (${String(failed)})`);
        pause = pauseAfter(this.#retrying, attempts, overAt - this.#now(), undefined, undefined, isIdempotent);
      }
      if (pause === undefined) throw error;
      await this.#sleep(pause);
    }
  }

  async #keyOfNow(): Promise<string> {
    return typeof this.#key === "string" ? this.#key : checkedKey(await this.#key());
  }
}

/** Throws a TypeError, which doesn't show it: one of fetch's would. */
function checkedKey(key: string): string {
  if (!/^[\x21-\x7e]+$/.test(key)) throw new TypeError("key is an API key (ID.SECRET) or a user's token: printable ASCII without blanks");
  return key;
}

/** The requests of each call, each with a key of its own. */
export function* inCalls(notifications: Iterable<Notification>): Generator<Notification[]> {
  let call: Notification[] = [];
  let octets = 0;
  for (const notification of notifications) {
    const request = { ...notification, idempotency_key: notification.idempotency_key ?? crypto.randomUUID() };
    const size = new TextEncoder().encode(JSON.stringify(request)).length + 1;
    if (call.length >= MOST_REQUESTS || (call.length > 0 && octets + size > MOST_BYTES)) {
      yield call;
      call = [];
      octets = 0;
    }
    call.push(request);
    octets += size;
  }
  if (call.length > 0) yield call;
}

function resultOf(document: Record<string, unknown>): Result {
  return "notification_id" in document ? (document as unknown as Accepted) : new ProblemError(Number(document["status"]), document);
}

function pathOf(template: string, values: Record<string, string>): string {
  return template.replace(/\{(\w+)\}/g, (_, name: string) => {
    const value = values[name];
    if (value === undefined || value === "") throw new TypeError(`${name} is missing`);
    if (value === "." || value === "..") throw new TypeError(`${name} can't be ${value}: fetch takes it for a step in the path`);
    return encodeURIComponent(value);
  });
}

function queryOf(query: Record<string, unknown>): string {
  const given = Object.entries(query).filter(([, value]) => value !== undefined);
  return given.length === 0 ? "" : `?${new URLSearchParams(given.map(([name, value]) => [name, String(value)])).toString()}`;
}

function parsed(text: string): unknown {
  let document: unknown;
  try {
    document = JSON.parse(text);
  } catch {
    throw new BadAnswer("the answer isn't JSON");
  }
  if (document === null) throw new BadAnswer("the answer is null");
  return document;
}

function problemOf(text: string): Record<string, unknown> {
  try {
    const document: unknown = JSON.parse(text);
    if (typeof document === "object" && document !== null) return document as Record<string, unknown>;
  } catch {
    // another server's page
  }
  return { detail: "the answer is not the gateway's: is something in between?" };
}
