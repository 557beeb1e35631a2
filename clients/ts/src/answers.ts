// Made of the gateway's description by `python -m clients.types`: don't edit it.

export interface Accepted {
  notification_id: string;
  recipients: number;
  status?: string;
}

/** Newest first, each as on ``tocsin_audit_log``. */
export interface AuditPage {
  entries: (Record<string, unknown>)[];
  next_cursor?: string | null;
}

/** One result a request, in order: the accepted notification or a problem. */
export interface BulkAccepted {
  results: (Record<string, unknown>)[];
}

/** A row of an upload that was refused. ``line``: from 1. */
export interface RowError {
  line: number;
  field: string | null;
  detail: string;
}

/** ``recipients``: users, each once. ``produced``: requests that the log has. ``refused``: rows, of the first of which ``errors`` says why. ``delivery``: sends by channel and by what became of them; null where that can't be asked now. */
export interface Campaign {
  campaign_id: string;
  notification_id: string;
  status: string;
  event_type: string;
  created_at: string;
  recipients: number;
  produced: number;
  refused: number;
  errors: (RowError)[];
  template_id?: string | null;
  priority?: string | null;
  send_at?: string | null;
  local_time?: string | null;
  expires_at?: string | null;
  rate?: string | null;
  canary?: string | null;
  holdout?: string | null;
  delivery?: Record<string, Record<string, number>> | null;
}

/** Newest first; without ``delivery``. */
export interface CampaignList {
  campaigns: (Campaign)[];
  next_cursor?: string | null;
}

export interface CampaignTaken {
  campaign_id: string;
  notification_id: string;
  status: string;
}

export interface Cancelling {
  notification_id: string;
  status?: string;
}

/** One candidate in the receipt's list. Of an erased user no reason is shown. */
export interface Candidate {
  send_id: string;
  new_send_id: string | null;
  notification_id: string;
  user_id: string;
  outcome: string;
  reason: string | null;
}

/** By send id. */
export interface CandidateList {
  candidates: (Candidate)[];
  next_cursor?: string | null;
}

/** What one part of the system did. Times are RFC 3339; one that is missing is still to come. */
export interface Done {
  where: string;
  by?: string | null;
  deleted_at?: string | null;
  store_compacted_at?: string | null;
  log_compacted_at?: string | null;
  redacted_at?: string | null;
}

/** What is still to come. ``until``: the latest time at which it will have been done by itself. */
export interface Pending {
  where: string;
  what: string;
  until?: string | null;
}

/** ``status``: ``done`` when every part has reported that it is; topics with a time limit go on letting go. */
export interface Certificate {
  erasure_id: string;
  erased_at: string;
  status: string;
  deleted: (string)[];
  remains: (string)[];
  done: (Done)[];
  pending: (Pending)[];
  time_limited: Record<string, string>;
}

/** ``notification_id``: of the message. ``expires_at``: until when its code is good. */
export interface CodeSent {
  notification_id: string;
  expires_at: string;
  status?: string;
}

/** What was said, and since when it counts. */
export interface Consent {
  channel: string;
  category: string;
  granted: boolean;
  at: string;
}

export interface Grant {
  at: string;
  evidence: unknown;
}

/** What was said last. ``withdrawn_grant``: of a withdrawn one the grant that it withdrew. */
export interface RecordedConsent {
  channel: string;
  category: string;
  granted: boolean;
  at: string;
  evidence?: unknown;
  withdrawn_grant?: Grant | null;
}

export interface Consents {
  consents: (RecordedConsent)[];
}

/** Newest first; each letter as on notify_dead, and its place there as ``id``; ``redriven`` where it was put back, ``first`` where it is of a record that was. */
export interface DeadPage {
  letters: (Record<string, unknown>)[];
  next_cursor?: string | null;
}

/** ``token``: only its last four characters. */
export interface Device {
  device_id: string;
  platform: string;
  token: string | null;
  app_id: string | null;
  locale: string | null;
  registered_at: string;
}

export interface Devices {
  devices: (Device)[];
}

export interface Erasing {
  erasure_id: string;
  status?: string;
}

/** What doesn't apply is null. ``detail`` never holds addresses, names, content or data. ``notification_id`` is null in ``device_retired`` only, which is of a device, not of a send. */
export interface LifecycleEvent {
  event_id: string;
  notification_id: string | null;
  user_id: string;
  send_id?: string | null;
  status: string;
  reason?: string | null;
  channel?: string | null;
  provider?: string | null;
  attempt?: number | null;
  event_type?: string | null;
  category?: string | null;
  priority?: string | null;
  source?: string | null;
  campaign_id?: string | null;
  template_id?: string | null;
  template_version?: number | null;
  variant?: string | null;
  policy_version?: number | null;
  provider_message_id?: string | null;
  replay_id?: string | null;
  occurred_at: string;
  detail?: Record<string, unknown> | null;
}

/** Oldest first. */
export interface Events {
  events: (LifecycleEvent)[];
  next_cursor?: string | null;
}

/** ``outcome``: the end, or what it waits for; a trail's entry: rule, input, answer, words. */
export interface ChannelExplanation {
  outcome: string;
  reason: string | null;
  trail: (Record<string, unknown>)[];
  receipts?: (string)[];
}

export interface Explanation {
  summary: string;
  channels: Record<string, ChannelExplanation>;
}

export interface DisabledShown {
  at: string;
  why: string;
}

export interface ReplayShown {
  from: string;
  to: string;
}

/** ``disabled``: since when nobody is called, and why. ``replay``: the latest one that was asked for. */
export interface HookShown {
  id: string;
  source: string;
  url: string;
  statuses: (string)[];
  created_at: string;
  disabled: DisabledShown | null;
  replay: ReplayShown | null;
}

/** The oldest first. */
export interface HookList {
  hooks: (HookShown)[];
}

/** The secret is shown this once. */
export interface HookMade {
  id: string;
  url: string;
  statuses: (string)[];
  secret: string;
}

export interface InboxCount {
  unread?: number;
  unseen?: number;
}

/** Newest first. An item: id, title, body, url, image, data, created_at, seen, read, archived, icon, actions, expires_at, category, snoozed_until. ``last_event_id``: where a stream that continues the page begins. */
export interface InboxPage {
  notifications?: (Record<string, unknown>)[];
  unread_count?: number;
  next_cursor?: string | null;
  last_event_id?: string;
}

/** All that an app shows before the inbox is opened. ``badge``: for the app's icon. */
export interface InboxSummary {
  badge?: number;
  unread?: number;
  unseen?: number;
  total?: number;
  archived?: number;
  snoozed?: number;
  last_event_id?: string;
}

/** One of a key's secrets that go on, by its number. ``expires_at`` null: with the key. */
export interface SecretShown {
  number: number;
  created_at: string;
  expires_at: string | null;
  last_used_at: string | null;
}

/** ``rate`` null: the gateway's own. ``created_by``: an API key. ``last_used_at``: within a minute or so; null: not known to have been used. ``secrets``: the oldest first; of a key in the settings none are shown. ``certificates``: it is taken with one of these only; empty: it needs none. */
export interface KeyShown {
  id: string;
  source: string;
  scopes: (string)[];
  rate: number | null;
  critical: boolean;
  state: string;
  kept_in: string;
  expires_at: string | null;
  created_at: string | null;
  created_by: string | null;
  last_used_at: string | null;
  secrets: (SecretShown)[];
  certificates: (string)[];
}

/** Those of the settings first, then those made over HTTP, the oldest first. */
export interface KeyList {
  keys: (KeyShown)[];
}

/** ``key`` is the whole of it, as it is sent with ``Authorization: Bearer``. It is shown this once. */
export interface KeyMade {
  id: string;
  key: string;
  secret: number;
  scopes: (string)[];
  source: string;
  expires_at: string | null;
}

/** ``key``: with the new secret, shown this once. ``former_expires_at``: when the one before it ends. */
export interface KeyRotated {
  id: string;
  key: string;
  secret: number;
  former_expires_at: string | null;
}

export interface Noted {
  status?: string;
}

/** ``delivery`` counts sends by channel and by what became of them. */
export interface NotificationStatus {
  notification_id: string;
  status: string;
  recipients: number;
  created_at: string;
  delivery: Record<string, Record<string, number>>;
}

/** Those that the name stands for. */
export interface PauseAnswer {
  providers: (string)[];
  paused: boolean;
}

export interface PolicyDocument {
  version: number;
  in_force: boolean;
  waiting_for: (string)[];
  policy: Record<string, unknown>;
}

export interface PolicyVersionDocument {
  version: number;
  at: string;
  sha256: string;
  policy: Record<string, unknown>;
}

/** ``at``: when it was written; ``sha256``: of its text, as in the audit log. */
export interface PolicyVersion {
  version: number;
  at: string;
  sha256: string;
}

/** Newest first. */
export interface PolicyVersions {
  versions: (PolicyVersion)[];
  next_cursor?: string | null;
}

/** ``on``: the user gets it now. ``change``: the patch of the preferences (RFC 7396) that turns it over. */
export interface Choice {
  channel: string;
  on: boolean;
  change: Record<string, unknown>;
}

/** ``channels``: none where it can't be turned off. */
export interface CategoryChoices {
  name: string;
  label: string;
  description: string;
  channels: (Choice)[];
}

/** ``channels``: of all that comes by a channel, whatever its category. */
export interface PreferenceChoices {
  categories: (CategoryChoices)[];
  channels: (Choice)[];
}

/** A page that whoever has its address can open until it expires. */
export interface PreferencesLink {
  url: string;
  expires_at: string;
}

/** The rendered parts by channel. ``segments``: how many SMS the text takes. */
export interface Preview {
  version: number;
  channels: Record<string, Record<string, string>>;
  segments?: number | null;
}

/** Empty for a user who isn't known. */
export interface Profile {
  email?: string | null;
  email_verified?: boolean;
  email_claimed?: boolean;
  phone?: string | null;
  phone_verified?: boolean;
  phone_claimed?: boolean;
  locale?: string | null;
  timezone?: string | null;
  name?: string | null;
  attributes?: Record<string, unknown> | null;
}

/** As one worker sees it. */
export interface ProviderAtWorker {
  worker: string;
  state: string;
  why: string | null;
  since: string;
  in_flight: number;
  waiting: number;
  rate: number | null;
  limited_by: string | null;
}

/** As all its running workers see it: the worst of their states, and the sums of their counts. */
export interface ProviderDocument {
  provider: string;
  channel: string;
  state: string;
  why: string | null;
  since: string;
  in_flight: number;
  waiting: number;
  rate: number | null;
  limited_by: string | null;
  paused: boolean;
  paused_by: string | null;
  workers: (ProviderAtWorker)[];
}

export interface ProviderList {
  providers: (ProviderDocument)[];
}

/** ``truncated``: there are more rows than were asked for. */
export interface QueryAnswer {
  columns: (string)[];
  types: (string)[];
  rows: ((unknown)[])[];
  truncated: boolean;
}

/** ``by``: the API key that asked for it. ``dry_run`` and ``outcomes`` both add up to ``candidates``. */
export interface Receipt {
  replay_id: string;
  status: string;
  by: string;
  at: string;
  channel: string;
  filters: Record<string, unknown>;
  mode: string;
  rate: string;
  candidates: number;
  dry_run: Record<string, number>;
  outcomes: Record<string, number>;
  expires_after?: string;
}

/** Letters of one place count as one. */
export interface Redriving {
  matched: number;
  redriven: number;
  refused: (Record<string, string>)[];
  left_out: number;
  would?: Record<string, number> | null;
}

export interface ReplayBegun {
  replay_id: string;
  status: string;
}

/** Newest first. */
export interface ReplayList {
  replays: (Receipt)[];
  next_cursor?: string | null;
}

export interface SchemaEntry {
  name: string;
  title: string;
  schema: string;
}

export interface SchemaList {
  schemas: (SchemaEntry)[];
}

/** ``data`` is JSON: of a notification the item, of an update its id and marks, of the counts those. */
export interface StreamEvent {
  id: string;
  event: string;
  data: string;
}

export interface Variant {
  name: string;
  weight: number;
  channels: Record<string, Record<string, Record<string, string>>>;
}

/** A version of a template. */
export interface TemplateDocument {
  id: string;
  version: number;
  at: string;
  channels: Record<string, Record<string, Record<string, string>>>;
  variants?: (Variant)[] | null;
  deleted?: boolean;
}

export interface Templates {
  templates: (TemplateDocument)[];
}

/** Good for one stream until ``expires_at``. */
export interface TicketAnswer {
  ticket: string;
  expires_at: string;
}

/** Newest first. An entry: notification_id, event_type, category, channel (null: all of them), status, reason, and at, when it was accepted. */
export interface UserHistory {
  notifications: (Record<string, unknown>)[];
  next_cursor?: string | null;
}

export interface Valid {
  valid?: boolean;
}

/** Oldest first. */
export interface Versions {
  versions: (TemplateDocument)[];
}
