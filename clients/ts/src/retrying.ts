/** When a call is made again. Times are in milliseconds. */
export interface Retrying {
  readonly attempts: number;
  readonly totalMs: number;
  readonly timeoutMs: number;
  readonly retryAfterMostMs: number;
  /** Before the next attempt, of how many were made. */
  readonly pauseMs: (attempts: number) => number;
}

/** Pauses that double, each up to a half shorter: clients that failed at once don't come back at once. */
export function backoff(firstMs = 200, mostMs = 10_000, chance: () => number = Math.random): (attempts: number) => number {
  return (attempts) => Math.min(mostMs, firstMs * 2 ** Math.min(attempts - 1, 30)) * (0.5 + 0.5 * chance());
}

export const RETRYING: Retrying = {
  attempts: 8,
  totalMs: 60_000,
  timeoutMs: 20_000,
  retryAfterMostMs: 30_000,
  pauseMs: backoff(),
};

const IN_DOUBT = new Set([408, 502, 503, 504]);

/** Until the next attempt; undefined: that was the last. */
export function pauseAfter(
  policy: Retrying,
  attempts: number,
  leftMs: number,
  status: number | undefined,
  askedMs: number | undefined,
  isIdempotent: boolean,
): number | undefined {
  const mayRepeat = status === 429 || (isIdempotent && (status === undefined || IN_DOUBT.has(status)));
  if (!mayRepeat || attempts >= policy.attempts) return undefined;
  const pause = Math.max(policy.pauseMs(attempts), Math.min(askedMs ?? 0, policy.retryAfterMostMs));
  return pause < leftMs ? pause : undefined;
}

/** What Retry-After asks for, in seconds or as a date; else when a rate that is used up is there again. */
export function retryAfterMs(headers: Headers, now: number): number | undefined {
  const given = headers.get("retry-after")?.trim() ?? "";
  if (/^\d{1,9}$/.test(given)) return Number(given) * 1000;
  if (given !== "") {
    const at = Date.parse(given);
    return Number.isNaN(at) ? undefined : Math.max(0, at - now);
  }
  const reset = headers.get("ratelimit-reset") ?? "";
  return headers.get("ratelimit-remaining") === "0" && /^\d{1,9}$/.test(reset) ? Number(reset) * 1000 : undefined;
}
