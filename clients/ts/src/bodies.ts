// Made of the gateway's description by `python -m clients.types`: don't edit it.

export interface ActivitySeen {
  timezone?: string | null;
}

/** Of a send, or of a notification; ``occurred_at`` is now unless the app says. */
export interface AppReceipt {
  status: "bounced" | "clicked" | "complained" | "delivered" | "failed" | "opened" | "read" | "seen" | "unsubscribed";
  notification_id?: string | null;
  send_id?: string | null;
  channel?: "email" | "in_app" | "push" | "sms" | null;
  reason?: string | null;
  occurred_at?: string | null;
  detail?: Record<string, unknown> | null;
}

/** Literal content: strings are shown as they are, never read as templates. */
export interface Content {
  title: string;
  body: string;
  subject?: string | null;
  html?: string | null;
  url?: string | null;
  image?: string | null;
}

/** What an inbox shows below an item. */
export interface Button {
  label: string;
  url: string;
}

/** What concerns the inbox alone. ``icon``: a name that the app knows, or where it lies. */
export interface InboxOptions {
  icon?: string | null;
  actions?: (Button)[] | null;
  expires_at?: string | null;
}

/** A button of a push. ``id``: what the app is told when it is tapped. */
export interface PushAction {
  id: string;
  label: string;
}

/** What concerns push alone, in the words of Apple and Google. */
export interface PushOptions {
  badge?: number | null;
  sound?: string | null;
  category?: string | null;
  actions?: (PushAction)[] | null;
  thread_id?: string | null;
  interruption_level?: "active" | "passive" | "time-sensitive" | null;
  mutable_content?: boolean;
  silent?: boolean;
  android_channel_id?: string | null;
  android_priority?: "high" | "normal" | null;
  data?: Record<string, string> | null;
}

export interface Notification {
  user_id?: string | null;
  event_type: string;
  template_id?: string | null;
  content?: Content | null;
  data?: Record<string, unknown> | null;
  channels?: ("email" | "in_app" | "push" | "sms")[] | null;
  priority?: "critical" | "high" | "low" | "normal" | null;
  idempotency_key?: string | null;
  send_at?: string | null;
  expires_at?: string | null;
  collapse_key?: string | null;
  campaign_id?: string | null;
  locale?: string | null;
  created_at?: string | null;
  inbox?: InboxOptions | null;
  push?: PushOptions | null;
  traceparent?: string | null;
  tracestate?: string | null;
  user_ids?: (string)[] | null;
}

export interface Bulk {
  requests: (Notification)[];
}

/** Whom a campaign is for, by what is known of users; all of it must hold. ``has``: an address or device. */
export interface Segment {
  attributes?: Record<string, unknown> | null;
  locale?: string | null;
  timezone?: string | null;
  has?: ("email" | "push" | "sms")[] | null;
}

export interface CampaignBody {
  campaign_id?: string | null;
  event_type: string;
  template_id?: string | null;
  content?: Content | null;
  data?: Record<string, unknown> | null;
  channels?: ("email" | "in_app" | "push" | "sms")[] | null;
  priority?: "critical" | "high" | "low" | "normal" | null;
  send_at?: string | null;
  local_time?: string | null;
  expires_at?: string | null;
  rate?: string | null;
  canary?: string | null;
  holdout?: string | null;
  user_ids?: (string)[] | null;
  segment?: Segment | null;
  all?: boolean | null;
}

export interface ConsentSet {
  channel: "email" | "in_app" | "push" | "sms";
  category: string;
  granted: boolean;
  evidence?: unknown;
}

export interface DeviceAdd {
  device_id: string;
  platform: "android" | "ios" | "web";
  token?: string | null;
  subscription?: Record<string, unknown> | null;
  app_id?: string | null;
  timezone?: string | null;
  locale?: string | null;
}

/** ``statuses`` left out: all. ``secret`` left out: one is made. */
export interface HookAsked {
  url: string;
  statuses?: ("accepted" | "aggregated" | "bounced" | "cancelled" | "clicked" | "complained" | "delivered" | "device_retired" | "expired" | "failed" | "held" | "in_doubt" | "opened" | "queued" | "read" | "repeated" | "retrying" | "scheduled" | "seen" | "sending" | "sent" | "suppressed" | "unknown" | "unsubscribed")[] | null;
  secret?: string | null;
}

/** What is misspelt is refused: it could be what limits the key. ``certificates``: it is taken with one of these client certificates only: ``dns:NAME``, ``uri:URI``, or ``spki:`` and the SHA-256 of the public key. */
export interface KeyAsked {
  id: string;
  scopes: (string)[];
  source?: string | null;
  rate?: number | null;
  critical?: boolean | null;
  expires_at?: string | null;
  certificates?: (string)[] | null;
}

export interface PauseBody {
  why: string;
}

/** The document below ``preferences``, or the document itself. */
export interface PreferencesBody {
  preferences: Record<string, unknown>;
}

/** What the page's form sends: ``act`` (``save``, ``all``), and with ``save`` what was shown and what is chosen. */
export interface PreferencesForm {
  act?: string;
  shown?: (string)[];
  on?: (string)[];
  quiet?: string;
  quiet_was?: string;
  quiet_start?: string;
  quiet_end?: string;
  quiet_day?: (string)[];
}

/** What a send would bring: ``data``, and of a digest ``items``; ``user`` stands for the user's profile. */
export interface PreviewBody {
  data?: Record<string, unknown>;
  user?: Record<string, unknown>;
  items?: (Record<string, unknown>)[] | null;
  locale?: string | null;
  variant?: string | null;
  channels?: Record<string, Record<string, Record<string, string>>> | null;
}

/** Merged as RFC 7396: an explicit null removes, so absent (UNSET) and null differ here. */
export interface ProfileSet {
  email?: string | null;
  email_verified?: boolean | null;
  phone?: string | null;
  phone_verified?: boolean | null;
  locale?: string | null;
  timezone?: string | null;
  name?: string | null;
  attributes?: Record<string, unknown> | null;
  claimed?: boolean | null;
}

/** The corrected record: ``key``, ``value`` and the headers' values in base64. Headers left out: as they were. */
export interface Edited {
  key?: string | null;
  value: string;
  headers?: ([string, string | null])[] | null;
}

/** Either ``ids``, or at least one of the others, which all must hold. ``edited``: for one id. */
export interface RedriveBody {
  ids?: (string)[] | null;
  reason?: string | null;
  code?: string | null;
  field?: string | null;
  topic?: string | null;
  from?: string | null;
  to?: string | null;
  dry_run?: boolean;
  edited?: Edited | null;
}

export interface ResumeBody {
  why?: string | null;
}

/** ``version``: the one to go back to; it becomes a new one. */
export interface Rollback {
  version: number;
}

/** ``overlap``: for how long the secret that was the newest goes on; ``0s``: all former ones end now. */
export interface RotationAsked {
  overlap?: string | null;
}

/** Until when the item is put off (RFC 3339); null, or a time that is over: it comes back now. */
export interface Snooze {
  until: string | null;
}

export interface Variant {
  name: string;
  weight: number;
  channels: Record<string, Record<string, Record<string, string>>>;
}

export interface Template {
  id: string;
  channels: Record<string, Record<string, Record<string, string>>>;
  variants?: (Variant)[] | null;
}

/** Without ``code`` one is sent; with it, it is checked. */
export interface VerifyBody {
  channel: "email" | "in_app" | "push" | "sms";
  code?: string | null;
}

/** What was recorded in [from, to). */
export interface HooksReplayAsked {
  from: string;
  to: string;
}

/** The body of ``POST /v1/replays``. A filter that is misspelt would send more than is meant: it is refused. */
export interface AskingReplayAsked {
  channel: "email" | "in_app" | "push" | "sms";
  from: string;
  to: string;
  provider?: ("apns" | "fcm" | "inbox" | "sendgrid" | "ses" | "sns" | "twilio" | "vonage" | "webpush")[] | null;
  status?: ("accepted" | "aggregated" | "bounced" | "cancelled" | "clicked" | "complained" | "delivered" | "device_retired" | "expired" | "failed" | "held" | "in_doubt" | "opened" | "queued" | "read" | "repeated" | "retrying" | "scheduled" | "seen" | "sending" | "sent" | "suppressed" | "unknown" | "unsubscribed")[] | null;
  reason?: (string)[] | null;
  category?: (string)[] | null;
  campaign?: (string)[] | null;
  event_type?: (string)[] | null;
  as_decided?: boolean | null;
  rate?: string | null;
  expires_after?: string | null;
  dry_run?: boolean | null;
}
