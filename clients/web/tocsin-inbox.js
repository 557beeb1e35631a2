/**
 * <tocsin-inbox>: a bell with a badge, and the user's inbox behind it, live. One file, no framework, no build step.
 * How to use it: docs/inbox.md of Tocsin. SPDX-License-Identifier: Apache-2.0
 */

const LABELS = {
  bell: "Notifications",
  unread: "{n} unread",
  title: "Notifications",
  empty: "Nothing here yet",
  archive: "Archived",
  inbox: "Inbox",
  readAll: "Mark all as read",
  read: "Mark as read",
  unreadMark: "Mark as unread",
  archiveItem: "Archive",
  snooze: "Snooze",
  hour: "For an hour",
  tomorrow: "Until tomorrow",
  week: "For a week",
  close: "Close",
  offline: "Offline. What you change is sent when you are back.",
  failed: "Can't be loaded. Trying again.",
  arrived: "New: {title}",
  preferences: "Preferences",
  back: "Back",
  everything: "Everything",
  always: "Always sent",
  push: "Push",
  email: "Email",
  sms: "SMS",
  in_app: "In the app",
  saved: "Saved",
  notSaved: "Couldn't be saved",
};

/** What each view shows, how it is asked for, and which marks bring items that it hasn't shown. */
const VIEWS = {
  inbox: {
    query: "archived=false&snoozed=false",
    has: (item) => !item.archived && !item.snoozed_until,
    gains: (marks) => !marks.archived && marks.snoozed_until === null,
  },
  archive: { query: "archived=true", has: (item) => item.archived, gains: (marks) => marks.archived },
};

const SCHEMES = ["http:", "https:", "mailto:", "tel:"];
const MOST_SHOWN = 99;
const LEAST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 30000;
const MINUTE_MS = 60000;
const LONGEST_SILENCE_MS = 5 * MINUTE_MS;
const PAGE = 20;
const LONGEST_PAGE = 100;
const NOTHING = { unread: 0, unseen: 0 };

const STYLE = `
:host { --accent: var(--tocsin-accent, #2457d6); --back: var(--tocsin-background, #fff);
  --text: var(--tocsin-text, #1b1f27); --muted: var(--tocsin-muted, #5a6272); --line: var(--tocsin-line, #d9dde5);
  --new: var(--tocsin-unread, #eef3fe); --badge: var(--tocsin-badge, #c21f32); --radius: var(--tocsin-radius, 10px);
  display: inline-block; position: relative; font: var(--tocsin-font, 15px/1.4 system-ui, sans-serif);
  color: var(--text); color-scheme: light dark; }
@media (prefers-color-scheme: dark) { :host(:not([theme=light])) { --accent: var(--tocsin-accent, #9bb8ff);
  --back: var(--tocsin-background, #16191f); --text: var(--tocsin-text, #eceff4); --muted: var(--tocsin-muted, #a9b1c0);
  --line: var(--tocsin-line, #343a46); --new: var(--tocsin-unread, #202a40); --badge: var(--tocsin-badge, #d93a4c); } }
:host([theme=dark]) { --accent: var(--tocsin-accent, #9bb8ff); --back: var(--tocsin-background, #16191f);
  --text: var(--tocsin-text, #eceff4); --muted: var(--tocsin-muted, #a9b1c0); --line: var(--tocsin-line, #343a46);
  --new: var(--tocsin-unread, #202a40); --badge: var(--tocsin-badge, #d93a4c); }
:host([theme=dark]) { color-scheme: dark; } :host([theme=light]) { color-scheme: light; }
:host([hidden]), [hidden] { display: none !important; }
* { box-sizing: border-box; }
button, .link { font: inherit; color: inherit; background: none; border: 1px solid transparent;
  border-radius: 6px; padding: 4px 8px; cursor: pointer; min-height: 28px; text-decoration: none; }
button:hover, .link:hover { border-color: var(--line); }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 1px; }
.bell { position: relative; padding: 8px; min-width: 44px; min-height: 44px; }
.bell svg { width: 24px; height: 24px; display: block; margin: auto; }
.badge { position: absolute; inset-block-start: 2px; inset-inline-end: 0; min-width: 18px; padding: 0 5px;
  border-radius: 9px; background: var(--badge); color: #fff; font-size: 12px; line-height: 18px; text-align: center; }
.panel { position: absolute; z-index: 1000; inset-inline-end: 0; inset-block-start: 100%; display: flex;
  flex-direction: column; width: min(400px, 94vw); max-height: min(640px, 80vh); margin-top: 6px; overflow: hidden;
  background: var(--back); border: 1px solid var(--line); border-radius: var(--radius);
  box-shadow: 0 8px 30px rgb(0 0 0 / .22); }
:host([align=start]) .panel { inset-inline: 0 auto; }
@media (max-width: 480px) { .panel { position: fixed; inset: auto 0 0 0; width: 100%; margin: 0; max-height: 90vh; } }
header { display: flex; flex-wrap: wrap; align-items: center; gap: 4px; padding: 8px 12px;
  border-bottom: 1px solid var(--line); }
h2 { flex: 1 1 calc(100% - 56px); margin: 0; font-size: 1.05em; }
header button:not(.close) { font-size: .87em; margin-inline-start: -8px; margin-inline-end: 8px; }
.status { padding: 4px 12px; color: var(--muted); font-size: .87em; }
.status:empty { display: none; }
.feed { overflow: auto; overscroll-behavior: contain; }
article { display: flow-root; padding: 10px 12px; border-bottom: 1px solid var(--line); outline-offset: -2px !important; }
article.unread { background: var(--new); border-inline-start: 3px solid var(--accent); }
article h3 { margin: 0; font-size: 1em; font-weight: 400; overflow-wrap: anywhere; }
article.unread h3 { font-weight: 650; }
h3 a { color: inherit; text-decoration: none; } h3 a:hover { text-decoration: underline; }
p { margin: 2px 0; overflow-wrap: anywhere; white-space: pre-line; }
time { color: var(--muted); font-size: .87em; }
.icon { float: inline-start; width: 24px; height: 24px; margin-inline-end: 8px; object-fit: contain; }
.image { display: block; max-width: 100%; max-height: 180px; border-radius: 6px; margin: 6px 0; }
.acts { display: flex; flex-wrap: wrap; gap: 2px; margin-inline-start: -8px; font-size: .87em; color: var(--muted); }
.link { border-color: var(--line); color: var(--accent); }
.choices { overflow: auto; overscroll-behavior: contain; padding: 4px 12px 12px; }
fieldset { margin: 0; padding: 8px 0; border: 0; border-bottom: 1px solid var(--line); min-width: 0; }
legend { float: inline-start; width: 100%; padding: 0; font-weight: 650; overflow-wrap: anywhere; }
legend, .about { text-align: match-parent; }
.about { clear: both; color: var(--muted); font-size: .87em; }
label { display: inline-flex; align-items: center; gap: 6px; min-height: 32px; margin-inline-end: 16px; cursor: pointer; }
input { width: 18px; height: 18px; margin: 0; accent-color: var(--accent); }
.end { height: 1px; }
.empty { padding: 32px 12px; text-align: center; color: var(--muted); }
.said { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
@media (prefers-reduced-motion: no-preference) { .bell.rings svg { animation: ring .6s ease-in-out; } }
@keyframes ring { 20% { transform: rotate(14deg); } 50% { transform: rotate(-12deg); } 80% { transform: rotate(6deg); } }
`;

const BELL = {
  svg: { viewBox: "0 0 24 24", fill: "none", stroke: "currentColor", "stroke-width": 1.8, "stroke-linecap": "round", "aria-hidden": true },
  path: { d: "M18 9a6 6 0 0 0-12 0c0 6-2.5 7-2.5 8h17c0-1-2.5-2-2.5-8zM10 20.5a2.2 2.2 0 0 0 4 0" },
};

const HERE = new URL(import.meta.url);

/** An element with properties and children. Texts are texts, never markup. */
function make(name, properties = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (key in element && typeof value !== "string") element[key] = value;
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

/** No markup and no style element: a page's policy may forbid both (Trusted Types, style-src). */
function drawBell() {
  const [svg, path] = Object.entries(BELL).map(([name, attributes]) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    return element;
  });
  svg.append(path);
  return svg;
}

function sheet() {
  const made = new CSSStyleSheet();
  made.replaceSync(STYLE);
  return made;
}

class Refused extends Error {
  constructor(status) {
    super(`the gateway answered ${status}`);
    this.status = status;
  }
}

/** What is refused for good is not tried again. */
function comesBack(error) {
  return !(error instanceof Refused) || error.status === 401 || error.status === 429 || error.status >= 500;
}

export class TocsinInbox extends HTMLElement {
  static observedAttributes = ["user", "token", "gateway", "lang"];

  #getToken = null;
  #labels = LABELS;
  #items = [];
  #view = "inbox";
  #cursor = null;
  #lastId = null;
  #pageAt = 0;
  #missed = null;
  #source = null;
  #heardAt = 0;
  #queue = [];
  #sending = 0;
  #turn = 0;
  #wait = LEAST_WAIT_MS;
  #timers = new Set();
  #ticking = 0;
  #life = 0;
  #isAlive = false;
  #parts = {};
  #ends = null;
  #counts = NOTHING;
  #isChoosing = false;
  #choices = null;
  #wanted = new Map();
  #saving = 0;

  constructor() {
    super();
    this.attachShadow({ mode: "open" });
    this.#build();
    this.#takeOver("getToken", "labels");
  }

  /** What a page has set before this file was there hides the properties of the class. */
  #takeOver(...names) {
    for (const name of names.filter((each) => Object.hasOwn(this, each))) {
      const value = this[name];
      delete this[name];
      this[name] = value;
    }
  }

  // --- what a page can say

  /** Called for a user's token whenever one is needed; null: the attribute `token` is one. */
  get getToken() {
    return this.#getToken;
  }

  set getToken(getToken) {
    this.#getToken = getToken;
    if (this.#isAlive && this.#lastId === null) this.#begin();
  }

  get labels() {
    return this.#labels;
  }

  set labels(labels) {
    this.#labels = { ...LABELS, ...labels };
    this.#name();
    this.#draw();
    this.#drawChoices();
  }

  get counts() {
    return { ...this.#counts };
  }

  get items() {
    return this.#items.map(({ item }) => ({ ...item }));
  }

  open() {
    if (!this.#parts.panel.hidden) return;
    this.#parts.panel.hidden = false;
    this.#parts.bell.setAttribute("aria-expanded", "true");
    document.addEventListener("pointerdown", this.#outside);
    this.#fit();
    (this.#parts.feed.querySelector("article") ?? this.#parts.close).focus();
    this.#lookSeen();
  }

  /** Within the page, wherever the bell is. */
  #fit() {
    const { panel } = this.#parts;
    panel.style.translate = "";
    const { left, right } = panel.getBoundingClientRect();
    const over = left < 0 ? -left : Math.min(0, document.documentElement.clientWidth - right);
    if (over) panel.style.translate = `${over}px 0`;
  }

  close() {
    if (this.#parts.panel.hidden) return;
    this.#parts.panel.hidden = true;
    this.#showChoices(false);
    this.#parts.bell.setAttribute("aria-expanded", "false");
    document.removeEventListener("pointerdown", this.#outside);
    this.#parts.bell.focus();
  }

  // --- its life

  connectedCallback() {
    addEventListener("online", this.#back);
    addEventListener("offline", this.#gone);
    document.addEventListener("visibilitychange", this.#back);
    this.#ticking = setInterval(() => this.#tick(), MINUTE_MS);
    this.#isAlive = true;
    this.#begin();
  }

  disconnectedCallback() {
    removeEventListener("online", this.#back);
    removeEventListener("offline", this.#gone);
    document.removeEventListener("visibilitychange", this.#back);
    document.removeEventListener("pointerdown", this.#outside);
    clearInterval(this.#ticking);
    this.#isAlive = false;
    this.#end();
  }

  attributeChangedCallback(name, before, after) {
    if (before === after || !this.#isAlive) return;
    if (name === "lang") this.#draw();
    else if (name === "token" && before !== null && after !== null) this.#back();
    else this.#begin();
  }

  /** Nothing stays of the user before. */
  #begin() {
    this.#end();
    this.#items = [];
    this.#lastId = null;
    this.#cursor = null;
    this.#queue = [];
    this.#choices = null;
    this.#wanted.clear();
    this.#showChoices(false);
    this.#drawChoices();
    this.#wait = LEAST_WAIT_MS;
    this.#parts.said.textContent = "";
    this.#say("");
    if (this.#counts.unread || this.#counts.unseen) this.#count(NOTHING);
    this.#draw();
    this.#load();
  }

  #end() {
    this.#life += 1; // what is under way for the life before comes to nothing
    this.#turn += 1;
    this.#missed = null;
    this.#disconnect();
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
  }

  /** A connection that has slept may be dead, and says so to nobody. */
  #back = () => {
    if (document.hidden || !navigator.onLine) return;
    this.#wait = LEAST_WAIT_MS;
    this.#send();
    this.#save();
    if (Date.now() - this.#heardAt > MINUTE_MS) this.#disconnect();
    if (this.#lastId === null) this.#load();
    else this.#connect();
  };

  /** A connection can die without a word to a page that only listens: a network between forgets it. */
  #tick() {
    this.#tellTimes();
    if (document.hidden || this.#source === null || Date.now() - this.#heardAt <= LONGEST_SILENCE_MS) return;
    this.#disconnect();
    this.#connect();
  }

  #gone = () => {
    this.#say("offline");
    this.#disconnect();
    if (this.#lastId !== null) this.#retry(null, () => this.#connect());
  };

  #outside = (event) => {
    if (!event.composedPath().includes(this)) this.close();
  };

  // --- the gateway

  async #call(method, path, body) {
    const url = this.#url(path); // before the token is there the user may be another
    const token = this.#getToken ? await this.#getToken() : this.getAttribute("token");
    const response = await fetch(url, {
      method,
      headers: { Authorization: `Bearer ${token}`, ...(body ? { "Content-Type": "application/json" } : {}) },
      body: body && JSON.stringify(body),
      credentials: "omit",
      cache: "no-store",
    });
    if (!response.ok) throw new Refused(response.status);
    return response.status === 204 ? null : response.json();
  }

  #url(path) {
    const base = this.getAttribute("gateway") || HERE.origin;
    return new URL(`${base}/v1/users/${encodeURIComponent(this.getAttribute("user"))}/${path}`, document.baseURI);
  }

  /** The page anew, as long as what is shown, and the stream that continues it. */
  #load() {
    if (!this.getAttribute("user") || !(this.#getToken || this.getAttribute("token"))) return;
    const limit = Math.min(LONGEST_PAGE, Math.max(PAGE, this.#items.length));
    this.#read(`?limit=${limit}`, (page) => {
      this.#items = [];
      this.#pageAt = Number(page.last_event_id);
      this.#lastId ??= page.last_event_id;
    });
  }

  #more() {
    if (this.#cursor !== null && this.#missed === null) this.#read(`?limit=${PAGE}&cursor=${this.#cursor}`, () => {});
  }

  /** One page at a time: what was asked for before comes to nothing. What the stream says meanwhile is also kept: the
   * page may be older than that, or newer. */
  async #read(query, begin) {
    const turn = (this.#turn += 1);
    const missed = (this.#missed = []);
    try {
      const page = await this.#call("GET", `inbox${query}&${VIEWS[this.#view].query}`);
      if (turn !== this.#turn) return;
      this.#missed = null;
      begin(page);
      this.#add(page);
      for (const [name, data, at] of missed) this.#change(name, data, at);
      this.#say("");
      this.#draw();
      this.#watchEnd();
      this.#connect();
    } catch (error) {
      if (turn === this.#turn) this.#retry(error, () => turn === this.#turn && this.#read(query, begin));
    }
  }

  #add(page) {
    const known = new Set(this.#items.map(({ item }) => item.id));
    const lacking = page.notifications.filter((item) => !known.has(item.id));
    this.#items.push(...lacking.map((item) => ({ item, at: Number(page.last_event_id) })));
    this.#cursor = page.next_cursor;
  }

  /** A WebSocket, as a browser opens only six other streams to a host, in all its tabs. Each connection takes a ticket
   * of its own: a browser sends no headers there. */
  async #connect() {
    if (this.#source !== null) return;
    const source = (this.#source = {}); // its place, while the ticket is asked for
    this.#heardAt = Date.now();
    try {
      const { ticket } = await this.#call("POST", "inbox/ticket");
      if (this.#source !== source) return;
      const url = this.#url(`inbox/ws?${new URLSearchParams({ ticket, last_event_id: this.#lastId })}`);
      url.protocol = url.protocol.replace("http", "ws");
      const socket = (this.#source = new WebSocket(url));
      socket.onmessage = (message) => {
        if (this.#source === socket) this.#take(JSON.parse(message.data));
      };
      socket.onclose = () => {
        if (this.#source === socket) this.#lose(null);
      };
    } catch (error) {
      if (this.#source === source) this.#lose(error);
    }
  }

  #lose(error) {
    this.#disconnect();
    this.#retry(error, () => this.#connect());
  }

  #disconnect() {
    this.#source?.close?.();
    this.#source = null;
  }

  #retry(error, again) {
    if (error) this.#say(navigator.onLine ? "failed" : "offline");
    const wait = this.#wait * (0.5 + Math.random());
    this.#wait = Math.min(2 * this.#wait, LONGEST_WAIT_MS);
    const life = this.#life;
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      if (life === this.#life) again();
    }, wait);
    this.#timers.add(timer);
  }

  // --- what comes

  #take({ id, event: name, data }) {
    const at = Number(id);
    this.#lastId = id;
    this.#heardAt = Date.now();
    this.#wait = LEAST_WAIT_MS;
    this.#say("");
    if (name === "count") return this.#count(data);
    if (name === "reset") return this.#load();
    this.#missed?.push([name, data, at]);
    this.#change(name, data, at);
    this.#draw();
    if (name === "notification") this.#announce(data);
  }

  #announce(item) {
    this.#parts.said.textContent = this.#label("arrived", { title: item.title || item.body });
    this.#parts.bell.classList.remove("rings");
    requestAnimationFrame(() => this.#parts.bell.classList.add("rings"));
    this.dispatchEvent(new CustomEvent("tocsin-notification", { detail: item, bubbles: true, composed: true }));
    if (!this.#parts.panel.hidden) this.#lookSeen();
  }

  /** What was read later than the change has it already. */
  #change(name, data, at) {
    if (name === "update") this.#update(data, at);
    else if (at > this.#pageAt && VIEWS[this.#view].has(data) && !this.#items.some(({ item }) => item.id === data.id)) {
      this.#items.unshift({ item: data, at });
    }
  }

  #update({ id, all, removed, ...marks }, at) {
    if (all && marks.archived) marks.snoozed_until = null;
    const isMeant = (one) => all || one.item.id === id;
    const isKnown = this.#items.some(isMeant);
    this.#items = this.#items
      .filter((one) => !(removed && isMeant(one) && one.at < at))
      .map((one) => (isMeant(one) && one.at < at ? { item: { ...one.item, ...marks }, at } : one))
      .filter(({ item }) => VIEWS[this.#view].has(item));
    if (!removed && (all || !isKnown) && at > this.#pageAt && VIEWS[this.#view].gains(marks)) this.#load();
  }

  #count(counts) {
    this.#counts = counts;
    const { unread } = counts;
    const { badge } = this.#parts;
    badge.textContent = unread > MOST_SHOWN ? `${MOST_SHOWN}+` : String(unread);
    badge.hidden = unread === 0;
    this.#name();
    this.dispatchEvent(new CustomEvent("tocsin-count", { detail: { ...counts }, bubbles: true, composed: true }));
  }

  // --- what the user does

  /** Shown at once, sent in order, and kept while the gateway can't be reached. */
  #act(item, path, marks, body) {
    if (marks) {
      this.#items = this.#items
        .map((one) => (one.item.id === item.id ? { ...one, item: { ...one.item, ...marks } } : one))
        .filter(({ item: each }) => VIEWS[this.#view].has(each));
      this.#draw();
    }
    this.#queue.push([path, body]);
    this.#send();
  }

  async #send() {
    if (this.#sending === this.#life) return;
    const life = (this.#sending = this.#life);
    try {
      while (this.#queue.length && life === this.#life) {
        const [path, body] = this.#queue[0];
        try {
          await this.#call("POST", `inbox${path}`, body);
        } catch (error) {
          if (life !== this.#life) return;
          if (comesBack(error)) return this.#retry(error, () => this.#send());
          this.#load(); // it is refused for good: show what is there
        }
        if (life === this.#life) this.#queue.shift();
      }
    } finally {
      if (this.#sending === life) this.#sending = 0;
    }
  }

  #mark(item, mark) {
    const marks = {
      seen: { seen: true },
      read: { seen: true, read: true },
      unread: { read: false },
      archive: { seen: true, archived: true, snoozed_until: null },
    }[mark];
    this.#act(item, `/${encodeURIComponent(item.id)}/${mark}`, marks);
  }

  #snooze(item, choice) {
    const until = new Date();
    if (choice === "hour") until.setHours(until.getHours() + 1);
    else until.setDate(until.getDate() + (choice === "week" ? 7 : 1));
    if (choice === "tomorrow") until.setHours(9, 0, 0, 0);
    const iso = until.toISOString();
    this.#act(item, `/${encodeURIComponent(item.id)}/snooze`, { snoozed_until: iso, archived: false }, { until: iso });
  }

  #readAll() {
    this.#items = this.#items.map((one) => ({ ...one, item: { ...one.item, seen: true, read: true } }));
    this.#draw();
    this.#queue.push(["/read-all", undefined]);
    this.#send();
  }

  /** What lies open before the user has been seen. */
  #lookSeen() {
    if (this.#isChoosing) return;
    for (const { item } of this.#items.slice(0, 20)) if (!item.seen && !item.archived) this.#mark(item, "seen");
  }

  #follow(item, event) {
    if (!item.read) this.#mark(item, "read");
    const asked = new CustomEvent("tocsin-open", { detail: item, bubbles: true, composed: true, cancelable: true });
    if (!this.dispatchEvent(asked)) event?.preventDefault(); // the page goes there by itself
    return !asked.defaultPrevented;
  }

  #switch() {
    this.#view = this.#view === "inbox" ? "archive" : "inbox";
    this.#items = [];
    this.#cursor = null;
    this.#name();
    this.#draw();
    this.#load();
  }

  // --- what the user wants to get

  #showChoices(isChoosing) {
    if (this.#isChoosing === isChoosing) return;
    this.#isChoosing = isChoosing;
    this.#parts.choices.hidden = !isChoosing;
    this.#parts.scrolled.hidden = isChoosing;
    this.#say("");
    this.#name();
    if (isChoosing) this.#loadChoices();
    else if (!this.#parts.panel.hidden) this.#lookSeen();
  }

  async #loadChoices() {
    const life = this.#life;
    try {
      const choices = await this.#call("GET", "preferences/choices");
      if (life !== this.#life) return;
      this.#choices = choices;
      this.#drawChoices();
      this.#say("");
    } catch (error) {
      if (life === this.#life) this.#retry(error, () => this.#isChoosing && this.#loadChoices());
    }
  }

  #choice(name) {
    return this.#groups().flatMap(({ channels }) => channels).find((each) => each.name === name);
  }

  /** The categories, and at the end each channel as a whole. */
  #groups() {
    if (this.#choices === null) return [];
    const { categories, channels } = this.#choices;
    const all = { name: "", label: this.#label("everything"), description: "", channels };
    return [...categories, all].map((group) => ({
      ...group,
      channels: group.channels.map((choice) => ({ ...choice, name: `${group.name}/${choice.channel}` })),
    }));
  }

  #want(name, on) {
    this.#wanted.set(name, on);
    this.#save();
  }

  /** One after the other: what one change makes of the document, the next one finds. */
  async #save() {
    if (this.#saving === this.#life) return;
    const life = (this.#saving = this.#life);
    try {
      while (this.#wanted.size && life === this.#life) {
        const [name, on] = this.#wanted.entries().next().value;
        let words = "saved";
        try {
          const choice = this.#choice(name);
          if (choice && choice.on !== on) await this.#call("PATCH", "preferences", { preferences: choice.change });
        } catch (error) {
          if (life === this.#life && comesBack(error)) return this.#retry(error, () => this.#save());
          words = "notSaved";
        }
        try {
          const choices = await this.#call("GET", "preferences/choices");
          if (life !== this.#life) return;
          this.#choices = choices;
        } catch (error) {
          if (life === this.#life) this.#retry(error, () => this.#save());
          return;
        }
        if (this.#wanted.get(name) === on) this.#wanted.delete(name);
        this.#drawChoices();
        this.#say(words);
      }
    } finally {
      if (this.#saving === life) this.#saving = 0;
    }
  }

  #keys = (event) => {
    if (event.key === "Escape") {
      this.close();
      event.stopPropagation();
      return;
    }
    const articles = [...this.#parts.feed.querySelectorAll("article")];
    const focused = this.shadowRoot.activeElement;
    const place = articles.indexOf(focused?.closest?.("article"));
    if (place < 0) return;
    const steps = { ArrowDown: place + 1, PageDown: place + 1, ArrowUp: place - 1, PageUp: place - 1, Home: 0, End: articles.length - 1 };
    if (event.key in steps) {
      articles[Math.max(0, Math.min(articles.length - 1, steps[event.key]))].focus();
      event.preventDefault();
    } else if (event.key === "Enter" && focused.tagName === "ARTICLE") {
      const link = focused.querySelector("h3 a");
      if (link) link.click();
      else this.#follow(this.#items[place].item);
    }
  };

  // --- how it looks

  #label(name, values = {}) {
    return this.#labels[name].replace(/\{(\w+)\}/g, (_, key) => values[key] ?? "");
  }

  #say(name) {
    const words = name ? this.#label(name) : "";
    if (this.#parts.status.textContent !== words) this.#parts.status.textContent = words;
  }

  #build() {
    const button = (part, onclick) => make("button", { type: "button", part, onclick });
    const parts = (this.#parts = {
      bell: make("button", { type: "button", part: "bell", class: "bell", "aria-haspopup": "dialog", "aria-expanded": "false" }),
      badge: make("span", { part: "badge", class: "badge", hidden: true, "aria-hidden": "true" }),
      panel: make("div", { part: "panel", class: "panel", role: "dialog", hidden: true }),
      title: make("h2", { part: "title" }),
      readAll: button("button read-all", () => this.#readAll()),
      switch: button("button archive", () => this.#switch()),
      choose: button("button preferences", () => this.#showChoices(!this.#isChoosing)),
      close: make("button", { type: "button", part: "button close", class: "close", onclick: () => this.close() }),
      status: make("div", { part: "status", class: "status", role: "status" }),
      feed: make("div", { part: "feed", class: "feed", role: "feed" }),
      empty: make("div", { part: "empty", class: "empty", hidden: true }),
      choices: make("div", { part: "preferences-panel", class: "choices", hidden: true }),
      end: make("div", { class: "end" }),
      said: make("div", { class: "said", role: "status" }),
    });
    parts.bell.append(drawBell(), parts.badge);
    parts.bell.onclick = () => (parts.panel.hidden ? this.open() : this.close());
    parts.panel.onkeydown = this.#keys;
    parts.close.textContent = "\u2715";
    const scrolled = (parts.scrolled = make("div", { class: "feed", tabindex: "-1" }, parts.feed, parts.empty, parts.end));
    parts.feed.classList.remove("feed");
    const header = make("header", { part: "header" }, parts.title, parts.close, parts.readAll, parts.switch, parts.choose);
    parts.panel.append(header, parts.status, scrolled, parts.choices);
    this.shadowRoot.adoptedStyleSheets = [sheet()];
    this.shadowRoot.append(parts.bell, parts.panel, parts.said);
    const wantsMore = (seen) => seen.some((each) => each.isIntersecting) && this.#more();
    this.#ends = new IntersectionObserver(wantsMore, { root: scrolled, rootMargin: "300px" });
    this.#watchEnd();
    this.#name();
  }

  /** Anew after each page: an observer says only what changes, and the end may still be in view. */
  #watchEnd() {
    this.#ends.disconnect();
    this.#ends.observe(this.#parts.end);
  }

  #name() {
    const { bell, panel, title, readAll, switch: other, choose, close, feed, empty } = this.#parts;
    const view = this.#isChoosing ? "preferences" : this.#view === "inbox" ? "title" : "archive";
    const { unread } = this.#counts;
    const counted = unread ? `, ${this.#label("unread", { n: unread })}` : "";
    bell.setAttribute("aria-label", this.#label("bell") + counted);
    title.textContent = this.#label(view);
    panel.setAttribute("aria-label", title.textContent);
    feed.setAttribute("aria-label", title.textContent);
    readAll.textContent = this.#label("readAll");
    readAll.hidden = view !== "title";
    other.textContent = this.#label(this.#view === "inbox" ? "archive" : "inbox");
    other.hidden = this.#isChoosing;
    choose.textContent = this.#label(this.#isChoosing ? "back" : "preferences");
    close.setAttribute("aria-label", this.#label("close"));
    empty.textContent = this.#label("empty");
  }

  /** Boxes that are there already are only ticked, so that focus and scrolling stay. */
  #drawChoices() {
    const { choices } = this.#parts;
    const groups = this.#groups();
    const looks = JSON.stringify([this.#labels, groups.map(({ channels, ...rest }) => [rest, channels.map(({ name }) => name)])]);
    if (choices.looks !== looks) {
      choices.looks = looks;
      choices.replaceChildren(...groups.map((group) => this.#group(group)));
    }
    const on = new Map([...groups.flatMap(({ channels }) => channels).map((each) => [each.name, each.on]), ...this.#wanted]);
    for (const input of choices.querySelectorAll("input")) input.checked = on.get(input.name);
  }

  #group({ label, description, channels }) {
    return make(
      "fieldset",
      { part: "category" },
      make("legend", { part: "category-name", dir: "auto" }, label),
      description ? make("p", { part: "category-description", class: "about", dir: "auto" }, description) : null,
      channels.length ? null : make("p", { class: "about" }, this.#label("always")),
      ...channels.map(({ name, channel }) => {
        const input = make("input", { type: "checkbox", part: "choice", name });
        input.onchange = () => this.#want(name, input.checked);
        return make("label", {}, input, this.#label(channel));
      }),
    );
  }

  /** Articles that show the same are kept as they are, so that focus and scrolling stay. */
  #draw() {
    const { feed, empty, panel } = this.#parts;
    const focused = this.shadowRoot.activeElement;
    const place = [...feed.children].indexOf(focused?.closest?.("article"));
    const drawn = new Map([...feed.children].map((article) => [article.dataset.id, article]));
    const articles = this.#items.map(({ item }, index) => {
      const looks = JSON.stringify([item, this.#labels, this.getAttribute("lang")]);
      const before = drawn.get(item.id);
      const article = before?.looks === looks ? before : this.#article(item);
      article.looks = looks;
      article.setAttribute("aria-posinset", index + 1);
      article.setAttribute("aria-setsize", this.#cursor === null ? this.#items.length : -1);
      return article;
    });
    let next = feed.firstChild;
    for (const article of articles) {
      if (article === next) next = next.nextSibling;
      else feed.insertBefore(article, next);
    }
    const shown = new Set(articles);
    for (const article of [...feed.children]) if (!shown.has(article)) article.remove();
    empty.hidden = articles.length > 0 || this.#lastId === null;
    if (place >= 0 && !panel.hidden && !this.shadowRoot.activeElement) {
      (articles[Math.min(place, articles.length - 1)] ?? this.#parts.close).focus();
    }
  }

  #article(item) {
    const title = make("h3", { part: "item-title", dir: "auto", id: `t-${item.id}` });
    const href = this.#link(item.url);
    if (href) title.append(make("a", { href, tabindex: "-1", onclick: (event) => this.#follow(item, event) }, item.title || item.body));
    else title.append(item.title);
    const act = (name, mark) =>
      make("button", { type: "button", part: `button ${mark}`, onclick: () => this.#mark(item, mark) }, this.#label(name));
    const links = item.actions.map(({ label, url }) => {
      const to = this.#link(url);
      return to && make("a", { href: to, part: "action", class: "link", onclick: () => item.read || this.#mark(item, "read") }, label);
    });
    const unread = !item.read && !item.archived;
    return make(
      "article",
      {
        part: unread ? "item unread" : "item",
        class: unread ? "unread" : null,
        tabindex: "0",
        "data-id": item.id,
        "aria-labelledby": `t-${item.id}`,
        "aria-describedby": `b-${item.id}`,
        onclick: (event) => event.target.closest("a, button") || this.#follow(item),
      },
      this.#icon(item.icon),
      title,
      make("p", { part: "item-body", dir: "auto", id: `b-${item.id}` }, href && !item.title ? "" : item.body),
      this.#image(item.image),
      make("time", { part: "item-time", datetime: item.created_at }, this.#ago(item.created_at)),
      make(
        "div",
        { part: "item-actions", class: "acts" },
        ...links.filter(Boolean),
        item.read ? act("unreadMark", "unread") : act("read", "read"),
        item.archived ? null : act("archiveItem", "archive"),
        ...this.#snoozing(item),
      ),
    );
  }

  #snoozing(item) {
    const button = (name, onclick) => make("button", { type: "button", part: "button snooze", onclick }, this.#label(name));
    const choices = ["hour", "tomorrow", "week"].map((name) => button(name, () => this.#snooze(item, name)));
    const group = make("span", { role: "group", "aria-label": this.#label("snooze"), hidden: true }, ...choices);
    const opener = button("snooze", () => {
      group.hidden = !group.hidden;
      opener.setAttribute("aria-expanded", String(!group.hidden));
      if (!group.hidden) choices[0].focus();
    });
    opener.setAttribute("aria-expanded", "false");
    return [opener, group];
  }

  #icon(icon) {
    if (!icon) return null;
    const src = /[/:]/.test(icon) ? this.#link(icon, ["http:", "https:"]) : null;
    if (src) return make("img", { src, alt: "", class: "icon", part: "icon", loading: "lazy", referrerpolicy: "no-referrer" });
    return /^[\w-]+$/.test(icon) ? make("slot", { name: `icon-${icon}`, part: `icon icon-${icon}` }) : null;
  }

  #image(image) {
    const src = image && this.#link(image, ["http:", "https:"]);
    return src ? make("img", { src, alt: "", class: "image", part: "image", loading: "lazy", referrerpolicy: "no-referrer" }) : null;
  }

  /** The link, where it is of a kind that a page may follow. An app's own schemes: attribute `schemes`. */
  #link(url, schemes) {
    if (!url) return null;
    const own = (this.getAttribute("schemes") ?? "").split(/\s+/).filter(Boolean).map((scheme) => `${scheme}:`);
    try {
      return (schemes ?? [...SCHEMES, ...own]).includes(new URL(url, document.baseURI).protocol) ? url : null;
    } catch {
      return null;
    }
  }

  #tellTimes() {
    for (const time of this.#parts.feed.querySelectorAll("time")) time.textContent = this.#ago(time.dateTime);
  }

  #ago(iso) {
    const lang = this.getAttribute("lang") || document.documentElement.lang || undefined;
    const seconds = Math.min(0, (Date.parse(iso) - Date.now()) / 1000); // (a clock that is slow makes nothing of the future)
    const units = [["day", 86400], ["hour", 3600], ["minute", 60]];
    const [unit, size] = units.find(([, each]) => Math.abs(seconds) >= each) ?? ["second", 1];
    if (unit === "day" && seconds < -7 * 86400) return new Date(iso).toLocaleDateString(lang);
    return new Intl.RelativeTimeFormat(lang, { numeric: "auto" }).format(Math.round(seconds / size), unit);
  }
}

if (!customElements.get("tocsin-inbox")) customElements.define("tocsin-inbox", TocsinInbox);
