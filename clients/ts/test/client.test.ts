// Run by tests/unit/clients/test_typescript.py, with the gateway's URL and keys in the environment.
import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { test } from "node:test";

import { BadAnswer, ProblemError, Tocsin, Unreachable, verifyWebhook, WebhookError } from "../src/index.js";

const environment = (name: string): string => process.env[name] ?? assert.fail(`${name} isn't set`);
const [URL_, KEY, ADMIN] = ["TOCSIN_URL", "TOCSIN_KEY", "TOCSIN_ADMIN"].map(environment) as [string, string, string];
const HELLO = { event_type: "order.shipped", content: { title: "Hello", body: "Ann" } };
const ACCEPTED = { notification_id: "n", recipients: 1, status: "accepted" };

let keyOfNow = (): string => "key";

/** A gateway that answers in turn, and what it was asked. */
function answering(...answers: (Response | Error)[]): { asked: { body: string }[]; waited: number[]; client: Tocsin } {
  const asked: { body: string }[] = [];
  const waited: number[] = [];
  const fetch = async (_: unknown, given?: RequestInit): Promise<Response> => {
    asked.push({ body: String(given?.body) });
    const answer = answers.length > 1 ? answers.shift() : answers[0];
    if (answer instanceof Error || answer === undefined) throw answer ?? new Error("nothing left");
    return answer.clone();
  };
  let now = 0;
  const sleep = async (ms: number): Promise<void> => {
    waited.push(ms);
    now += ms;
  };
  return { asked, waited, client: new Tocsin("http://gateway", () => keyOfNow(), { fetch, sleep, now: () => now }) };
}

const problem = (status: number, headers: Record<string, string> = {}): Response =>
  new Response(JSON.stringify({ status, title: "No", detail: "not now", field: "user_id" }), { status, headers });

test("the gateway takes a notification, many, and cancels one", async () => {
  const tocsin = new Tocsin(URL_, KEY);
  const accepted = await tocsin.send({ user_id: "ann", ...HELLO });
  assert.equal(accepted.recipients, 1);
  const results = await tocsin.sendMany(["ann", "bob", ""].map((user_id) => ({ user_id, ...HELLO })));
  assert.deepEqual(results.map((each) => (each instanceof ProblemError ? each.status : each instanceof Error)), [false, false, 400]);
  assert.equal((await tocsin.cancel(accepted.notification_id)).status, "accepted");
});

test("any operation can be called by its name", async () => {
  const tocsin = new Tocsin(URL_, ADMIN);
  const profile = await tocsin.call("PATCH /v1/users/{id}/profile", { path: { id: "a/b" }, body: { name: "Ann" } });
  assert.equal(profile.name, "Ann");
});

test("a list is read to its end", async () => {
  const pages = [{ letters: [1, 2], next_cursor: "a&b" }, { letters: [3], next_cursor: null }];
  const { client } = answering(...pages.map((page) => new Response(JSON.stringify(page))));
  const letters = [];
  for await (const letter of client.pages("GET /v1/dead", {}, (page) => page.letters)) letters.push(letter);
  assert.deepEqual(letters, [1, 2, 3]);
});

test("a refusal carries the problem", async () => {
  await assert.rejects(new Tocsin(URL_, KEY).send({ user_id: "ann", event_type: "no type" }), (error: ProblemError) => {
    assert.deepEqual([error.status, error.field], [400, "event_type"]);
    return true;
  });
});

test("a lost answer is asked for again with the same key", async () => {
  const { asked, client } = answering(new Error("gone"), problem(503), new Response(JSON.stringify(ACCEPTED), { status: 202 }));
  assert.equal((await client.send({ user_id: "ann", ...HELLO })).notification_id, "n");
  assert.equal(new Set(asked.map((each) => JSON.parse(each.body).idempotency_key)).size, 1);
  assert.equal(asked.length, 3);
});

test("what would take effect twice is asked for once", async () => {
  const { asked, client } = answering(new Error("gone"));
  await assert.rejects(client.call("DELETE /v1/users/{id}", { path: { id: "ann" } }), Unreachable);
  assert.equal(asked.length, 1);
});

test("what makes a version is asked for once", async () => {
  const template = { id: "t", channels: { push: { en: { title: "t", body: "b" } } } };
  for (const ask of [
    (client: Tocsin) => client.call("PUT /v1/templates/{id}", { path: { id: "t" }, body: template }),
    (client: Tocsin) => client.call("PUT /v1/policy", { body: "categories: {}" }),
  ]) {
    const { asked, client } = answering(new Error("gone"));
    await assert.rejects(ask(client), Unreachable);
    assert.equal(asked.length, 1);
  }
});

test("what isn't the gateway's answer is an error, and is asked for once", async () => {
  for (const page of ["", "null", " null ", "<html>"]) {
    const { asked, client } = answering(new Response(page));
    await assert.rejects(client.send({ user_id: "ann", ...HELLO }), BadAnswer);
    assert.equal(asked.length, 1);
  }
});

test("a redirect is an error", async () => {
  const { asked, client } = answering(new Response(null, { status: 307, headers: { Location: "http://elsewhere/" } }));
  await assert.rejects(client.call("GET /v1/policy", {}), ProblemError);
  assert.equal(asked.length, 1);
});

test("a key that is none, or can't be had, is no lost answer and isn't shown", async (t) => {
  const none = ["", "a b", "se\ncret", "schl\u00fcssel"];
  const away = new Error("the vault is away");
  t.after(() => (keyOfNow = () => "key"));
  for (const key of none) {
    const isNamed = (error: Error): boolean => /key is an API key/.test(error.message) && (key === "" || !error.message.includes(key));
    assert.throws(() => new Tocsin("http://gateway", key), isNamed);
    keyOfNow = () => key;
    const { asked, waited, client } = answering(new Response("{}"));
    await assert.rejects(client.call("GET /v1/policy", {}), isNamed);
    assert.deepEqual([asked, waited], [[], []]);
  }
  keyOfNow = () => {
    throw away;
  };
  const { asked, waited, client } = answering(new Response("{}"));
  await assert.rejects(client.call("GET /v1/policy", {}), (error) => error === away);
  assert.deepEqual([asked, waited], [[], []]);
});

test("Retry-After is waited for, up to a limit, and all ends in time", async () => {
  const one = answering(problem(429, { "Retry-After": "7" }), new Response("{}"));
  await one.client.call("GET /v1/policy", {});
  assert.deepEqual(one.waited, [7000]);
  const ever = answering(problem(503, { "Retry-After": "99999" }));
  await assert.rejects(ever.client.call("GET /v1/policy", {}), ProblemError);
  assert.ok(ever.waited.length <= 2 && ever.waited.every((each) => each === 30_000));
});

test("a webhook is verified", async () => {
  const secret = Buffer.from("s".repeat(24)).toString("base64");
  const body = JSON.stringify({ type: "notification.sent", timestamp: "t", data: { event_id: "e1" } });
  const signature = createHmac("sha256", Buffer.from(secret, "base64")).update(`e1.1000.${body}`).digest("base64");
  const headers = { "webhook-id": "e1", "webhook-timestamp": "1000", "webhook-signature": `v1a,x v1,! v1,${signature}` };
  const other = `whsec_${Buffer.from("t".repeat(24)).toString("base64")}`;
  assert.equal((await verifyWebhook(headers, body, [other, `whsec_${secret}`], 1200)).data.event_id, "e1");
  await assert.rejects(verifyWebhook(headers, body, `whsec_${secret}`, 1301), WebhookError);
  await assert.rejects(verifyWebhook(headers, `${body} `, `whsec_${secret}`, 1000), WebhookError);
  await assert.rejects(verifyWebhook(headers, body, other, 1000), WebhookError);
  await assert.rejects(verifyWebhook({}, body, other, 1000), WebhookError);
});
