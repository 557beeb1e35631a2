import type { LifecycleEvent } from "./answers.js";
import { WebhookError } from "./errors.js";

/** `type`: `notification.sent`. The same event may come again, with the same `data.event_id`. */
export interface WebhookEvent {
  readonly type: string;
  readonly timestamp: string;
  readonly data: LifecycleEvent;
}

/**
 * The call, if Tocsin has made it, as the Standard Webhooks specification has it; else a WebhookError.
 * `body`: as it came. `secrets`: the hook's, or several while it is rotated. `now`: Unix seconds.
 */
export async function verifyWebhook(
  headers: Headers | Record<string, string>,
  body: string,
  secrets: string | readonly string[],
  now: number = Date.now() / 1000,
  toleranceS = 300,
): Promise<WebhookEvent> {
  const given = headers instanceof Headers ? headers : new Headers(headers);
  const [id, at, signatures] = ["id", "timestamp", "signature"].map((part) => given.get(`webhook-${part}`) ?? "");
  if (!id || !at || !signatures) throw new WebhookError("webhook-id, webhook-timestamp and webhook-signature are required");
  if (!/^\d{1,12}$/.test(at)) throw new WebhookError("webhook-timestamp is not in Unix seconds");
  if (Math.abs(now - Number(at)) > toleranceS) throw new WebhookError("webhook-timestamp is too far away");
  const signed = new TextEncoder().encode(`${id}.${at}.${body}`);
  for (const secret of typeof secrets === "string" ? [secrets] : secrets) {
    const raw = Uint8Array.from(atob(secret.replace(/^whsec_/, "")), (char) => char.charCodeAt(0));
    const key = await crypto.subtle.importKey("raw", raw, { name: "HMAC", hash: "SHA-256" }, false, ["verify"]);
    for (const each of signatures.split(" ").slice(0, 32)) {
      if (each.startsWith("v1,") && (await crypto.subtle.verify("HMAC", key, bytesOf(each.slice(3)), signed))) {
        return JSON.parse(body) as WebhookEvent;
      }
    }
  }
  throw new WebhookError("the signature is wrong");
}

function bytesOf(base64: string): Uint8Array<ArrayBuffer> {
  try {
    return Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));
  } catch {
    return new Uint8Array();
  }
}
