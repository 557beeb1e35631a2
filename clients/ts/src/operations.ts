// Made of the gateway's description by `python -m clients.types`: don't edit it.

import type * as answers from "./answers.js";
import type * as bodies from "./bodies.js";

/** `path` and `query`: the names of parameters. `body` and `answer`: undefined where there is none. */
export interface Operations {
  /** Notify one user, or up to 1,000 */
  "POST /v1/notifications": { path: never; query: never; body: bodies.Notification; answer: answers.Accepted };
  /** Up to 1,000 notifications at once, each with its own result */
  "POST /v1/notifications/bulk": { path: never; query: never; body: bodies.Bulk; answer: answers.BulkAccepted };
  /** A notification's status */
  "GET /v1/notifications/{id}": { path: "id"; query: never; body: unknown; answer: answers.NotificationStatus };
  /** Cancel what isn't sent yet of a notification */
  "DELETE /v1/notifications/{id}": { path: "id"; query: never; body: unknown; answer: answers.Cancelling };
  /** Everything that happened to a notification, oldest first */
  "GET /v1/notifications/{id}/events": { path: "id"; query: "user_id" | "cursor" | "limit"; body: unknown; answer: answers.Events };
  /** Why a recipient got it, or didn't */
  "GET /v1/notifications/{id}/why": { path: "id"; query: "user_id"; body: unknown; answer: answers.Explanation };
  /** What was meant for a user in the last 90 days, newest first */
  "GET /v1/users/{id}/notifications": { path: "id"; query: "cursor" | "limit"; body: unknown; answer: answers.UserHistory };
  /** A user's preferences */
  "GET /v1/users/{id}/preferences": { path: "id"; query: never; body: unknown; answer: unknown };
  /** Set a user's preferences */
  "PUT /v1/users/{id}/preferences": { path: "id"; query: never; body: bodies.PreferencesBody; answer: unknown };
  /** Merge into a user's preferences (RFC 7396) */
  "PATCH /v1/users/{id}/preferences": { path: "id"; query: never; body: bodies.PreferencesBody; answer: unknown };
  /** A user's profile */
  "GET /v1/users/{id}/profile": { path: "id"; query: never; body: unknown; answer: answers.Profile };
  /** Merge into a user's profile (RFC 7396) */
  "PATCH /v1/users/{id}/profile": { path: "id"; query: never; body: bodies.ProfileSet; answer: answers.Profile };
  /** Send a code to the address of a channel, or check it: then the address is verified */
  "POST /v1/users/{id}/profile/verify": { path: "id"; query: never; body: bodies.VerifyBody; answer: answers.CodeSent };
  /** A user's devices */
  "GET /v1/users/{id}/devices": { path: "id"; query: never; body: unknown; answer: answers.Devices };
  /** Add or renew a device */
  "POST /v1/users/{id}/devices": { path: "id"; query: never; body: bodies.DeviceAdd; answer: answers.Device };
  /** Remove a device */
  "DELETE /v1/users/{id}/devices/{device_id}": { path: "id" | "device_id"; query: never; body: unknown; answer: unknown };
  /** A user's consents, each with what was given as evidence */
  "GET /v1/users/{id}/consents": { path: "id"; query: never; body: unknown; answer: answers.Consents };
  /** Grant or withdraw consent for a category on a channel */
  "PUT /v1/users/{id}/consents": { path: "id"; query: never; body: bodies.ConsentSet; answer: answers.Consent };
  /** Report what the app saw of a notification: delivered, opened, clicked, seen */
  "POST /v1/users/{id}/receipts": { path: "id"; query: never; body: bodies.AppReceipt; answer: answers.Noted };
  /** Report that the user is in the app now */
  "POST /v1/users/{id}/activity": { path: "id"; query: never; body: bodies.ActivitySeen; answer: answers.Noted };
  /** A ticket for one stream, within 60 s */
  "POST /v1/users/{id}/inbox/ticket": { path: "id"; query: never; body: unknown; answer: answers.TicketAnswer };
  /** The inbox live, as server-sent events: notification, update, count, reset */
  "GET /v1/users/{id}/inbox/stream": { path: "id"; query: "ticket" | "last_event_id"; body: unknown; answer: answers.StreamEvent };
  /** The inbox live, as a WebSocket: messages {id, event, data} */
  "GET /v1/users/{id}/inbox/ws": { path: "id"; query: "ticket" | "last_event_id"; body: unknown; answer: unknown };
  /** A page of a user's inbox, newest first */
  "GET /v1/users/{id}/inbox": { path: "id"; query: "limit" | "cursor" | "unread" | "archived" | "snoozed" | "category"; body: unknown; answer: answers.InboxPage };
  /** How much is unread and unseen */
  "GET /v1/users/{id}/inbox/count": { path: "id"; query: never; body: unknown; answer: answers.InboxCount };
  /** Badge and counts in one call */
  "GET /v1/users/{id}/inbox/summary": { path: "id"; query: never; body: unknown; answer: answers.InboxSummary };
  /** Snooze an item, or bring it back */
  "POST /v1/users/{id}/inbox/{notification_id}/snooze": { path: "id" | "notification_id"; query: never; body: bodies.Snooze; answer: unknown };
  /** Mark all as read */
  "POST /v1/users/{id}/inbox/read-all": { path: "id"; query: never; body: unknown; answer: unknown };
  /** Mark an item: seen, read, unread, archive */
  "POST /v1/users/{id}/inbox/{notification_id}/{mark}": { path: "id" | "notification_id" | "mark"; query: never; body: unknown; answer: unknown };
  /** Erase a user */
  "DELETE /v1/users/{id}": { path: "id"; query: never; body: unknown; answer: answers.Erasing };
  /** The certificate of an erasure */
  "GET /v1/erasures/{id}": { path: "id"; query: never; body: unknown; answer: answers.Certificate };
  /** All templates */
  "GET /v1/templates": { path: never; query: never; body: unknown; answer: answers.Templates };
  /** Make a template */
  "POST /v1/templates": { path: never; query: never; body: bodies.Template; answer: answers.TemplateDocument };
  /** A template's current version */
  "GET /v1/templates/{id}": { path: "id"; query: never; body: unknown; answer: answers.TemplateDocument };
  /** Write a new version of a template, or its first */
  "PUT /v1/templates/{id}": { path: "id"; query: never; body: bodies.Template; answer: answers.TemplateDocument };
  /** Delete a template that the policy doesn't name */
  "DELETE /v1/templates/{id}": { path: "id"; query: never; body: unknown; answer: unknown };
  /** Show a template with some data, on every channel that it has */
  "POST /v1/templates/{id}/preview": { path: "id"; query: never; body: bodies.PreviewBody; answer: answers.Preview };
  /** Every version of a template */
  "GET /v1/templates/{id}/versions": { path: "id"; query: never; body: unknown; answer: answers.Versions };
  /** Make an earlier version the current one again */
  "POST /v1/templates/{id}/rollback": { path: "id"; query: never; body: bodies.Rollback; answer: answers.TemplateDocument };
  /** The policy in force */
  "GET /v1/policy": { path: never; query: never; body: unknown; answer: answers.PolicyDocument };
  /** Put a new version of the policy in force */
  "PUT /v1/policy": { path: never; query: never; body: unknown; answer: answers.PolicyDocument };
  /** Policies that were in force, newest first */
  "GET /v1/policy/versions": { path: never; query: "limit" | "cursor"; body: unknown; answer: answers.PolicyVersions };
  /** A policy that was in force */
  "GET /v1/policy/versions/{number}": { path: "number"; query: never; body: unknown; answer: answers.PolicyVersionDocument };
  /** Check a policy without putting it in force */
  "POST /v1/policy/validate": { path: never; query: never; body: unknown; answer: answers.Valid };
  /** One SQL statement that only reads the database notify */
  "GET /v1/query": { path: never; query: "sql" | "limit"; body: unknown; answer: answers.QueryAnswer };
  /** Dead letters, newest first */
  "GET /v1/dead": { path: never; query: "reason" | "code" | "field" | "topic" | "from" | "to" | "limit" | "cursor"; body: unknown; answer: answers.DeadPage };
  /** A dead letter */
  "GET /v1/dead/{letter_id}": { path: "letter_id"; query: never; body: unknown; answer: unknown };
  /** Put dead letters back as they were */
  "POST /v1/dead/redrive": { path: never; query: never; body: bodies.RedriveBody; answer: answers.Redriving };
  /** Who changed what, newest first */
  "GET /v1/audit-log": { path: never; query: "action" | "key_id" | "from" | "to" | "limit" | "cursor"; body: unknown; answer: answers.AuditPage };
  /** The providers, as their workers see them */
  "GET /v1/providers": { path: never; query: never; body: unknown; answer: answers.ProviderList };
  /** Pause a provider, or all of a channel's: nobody calls it until it is resumed */
  "POST /v1/providers/{provider}/pause": { path: "provider"; query: never; body: bodies.PauseBody; answer: answers.PauseAnswer };
  /** Resume a provider, or all of a channel's */
  "POST /v1/providers/{provider}/resume": { path: "provider"; query: never; body: bodies.ResumeBody; answer: answers.PauseAnswer };
  /** Replays of the last 90 days, newest first */
  "GET /v1/replays": { path: never; query: "limit" | "cursor"; body: unknown; answer: answers.ReplayList };
  /** Send again what a channel failed to deliver */
  "POST /v1/replays": { path: never; query: never; body: bodies.AskingReplayAsked; answer: answers.ReplayBegun };
  /** The receipt of a replay */
  "GET /v1/replays/{id}": { path: "id"; query: never; body: unknown; answer: answers.Receipt };
  /** What became of each candidate of a replay */
  "GET /v1/replays/{id}/candidates": { path: "id"; query: "outcome" | "limit" | "cursor"; body: unknown; answer: answers.CandidateList };
  /** Stop a replay: after 1 s it queues nothing more */
  "POST /v1/replays/{id}/stop": { path: "id"; query: never; body: unknown; answer: answers.ReplayBegun };
  /** Resume a stopped replay */
  "POST /v1/replays/{id}/resume": { path: "id"; query: never; body: unknown; answer: answers.ReplayBegun };
  /** What Amazon SES reports of sends; signed by it */
  "POST /v1/webhooks/ses": { path: never; query: never; body: unknown; answer: unknown };
  /** What SendGrid reports of sends; signed by it */
  "POST /v1/webhooks/sendgrid": { path: never; query: never; body: unknown; answer: unknown };
  /** What Twilio reports of sends; signed by it */
  "POST /v1/webhooks/twilio": { path: never; query: never; body: unknown; answer: unknown };
  /** What Vonage reports of sends; signed by it */
  "POST /v1/webhooks/vonage": { path: never; query: never; body: unknown; answer: unknown };
  /** The source's campaigns, newest first */
  "GET /v1/campaigns": { path: never; query: "limit" | "cursor"; body: unknown; answer: answers.CampaignList };
  /** Send one message to many; repeating it returns its status, and adds users */
  "POST /v1/campaigns": { path: never; query: "campaign_id" | "event_type" | "template_id" | "content" | "data" | "channels" | "priority" | "send_at" | "local_time" | "expires_at" | "rate" | "canary" | "holdout"; body: bodies.CampaignBody; answer: answers.CampaignTaken };
  /** Send one message to many; repeating it returns its status, and adds users */
  "POST /v1/notifications/batch": { path: never; query: "campaign_id" | "event_type" | "template_id" | "content" | "data" | "channels" | "priority" | "send_at" | "local_time" | "expires_at" | "rate" | "canary" | "holdout"; body: bodies.CampaignBody; answer: answers.CampaignTaken };
  /** A campaign's status and progress */
  "GET /v1/campaigns/{id}": { path: "id"; query: never; body: unknown; answer: answers.Campaign };
  /** Cancel a campaign: nothing more is produced, and what isn't sent yet ends cancelled */
  "DELETE /v1/campaigns/{id}": { path: "id"; query: never; body: unknown; answer: answers.CampaignTaken };
  /** Pause a campaign: after 1 s nothing more is produced */
  "POST /v1/campaigns/{id}/pause": { path: "id"; query: never; body: unknown; answer: answers.CampaignTaken };
  /** Resume a paused campaign where it stopped */
  "POST /v1/campaigns/{id}/resume": { path: "id"; query: never; body: unknown; answer: answers.CampaignTaken };
  /** Your outbound webhooks */
  "GET /v1/hooks": { path: never; query: never; body: unknown; answer: answers.HookList };
  /** Register a webhook that is called when something happens to your notifications */
  "POST /v1/hooks": { path: never; query: never; body: bodies.HookAsked; answer: answers.HookMade };
  /** Delete an outbound webhook */
  "DELETE /v1/hooks/{id}": { path: "id"; query: never; body: unknown; answer: unknown };
  /** Enable a disabled hook: its calls resume where they stopped */
  "POST /v1/hooks/{id}/enable": { path: "id"; query: never; body: unknown; answer: unknown };
  /** Have a hook called again for everything recorded in a range of time */
  "POST /v1/hooks/{id}/replay": { path: "id"; query: never; body: bodies.HooksReplayAsked; answer: answers.ReplayShown };
  /** The JSON Schemas of the topics' records */
  "GET /schemas/": { path: never; query: never; body: unknown; answer: answers.SchemaList };
  /** The JSON Schema of a kind of record */
  "GET /schemas/{name}.json": { path: "name"; query: never; body: unknown; answer: unknown };
  /** The topics, as AsyncAPI 3 */
  "GET /asyncapi.yaml": { path: never; query: never; body: unknown; answer: unknown };
  /** The topics, as AsyncAPI 3 */
  "GET /asyncapi.json": { path: never; query: never; body: unknown; answer: unknown };
  /** The web component <tocsin-inbox> */
  "GET /web/tocsin-inbox.js": { path: never; query: never; body: unknown; answer: unknown };
  /** The web component <tocsin-inbox>, of this version and no other */
  "GET /web/tocsin-inbox.{hash}.js": { path: "hash"; query: never; body: unknown; answer: unknown };
  /** A one-pixel picture that reports that a mail was opened */
  "GET /v1/track/open/{token}.gif": { path: "token"; query: never; body: unknown; answer: unknown };
  /** Redirect to the target of a link in a mail, and report the click */
  "GET /v1/track/click/{token}": { path: "token"; query: never; body: unknown; answer: unknown };
  /** A page that asks whether to unsubscribe; it changes nothing */
  "GET /v1/unsubscribe/{token}": { path: "token"; query: never; body: unknown; answer: unknown };
  /** Unsubscribe from the category on the channel (RFC 8058) */
  "POST /v1/unsubscribe/{token}": { path: "token"; query: never; body: unknown; answer: unknown };
  /** What a user can choose, and the patch that changes each choice */
  "GET /v1/users/{id}/preferences/choices": { path: "id"; query: never; body: unknown; answer: answers.PreferenceChoices };
  /** Make a link to the user's hosted preference page */
  "POST /v1/users/{id}/preferences/link": { path: "id"; query: never; body: unknown; answer: answers.PreferencesLink };
  /** The hosted preference page */
  "GET /preferences/{token}": { path: "token"; query: never; body: unknown; answer: unknown };
  /** Submit the form of the hosted preference page */
  "POST /preferences/{token}": { path: "token"; query: never; body: bodies.PreferencesForm; answer: unknown };
  /** The API keys, and when they were used last */
  "GET /v1/keys": { path: never; query: never; body: unknown; answer: answers.KeyList };
  /** Make an API key */
  "POST /v1/keys": { path: never; query: never; body: bodies.KeyAsked; answer: answers.KeyMade };
  /** An API key, without its secrets */
  "GET /v1/keys/{id}": { path: "id"; query: never; body: unknown; answer: answers.KeyShown };
  /** Revoke an API key: within 2 s no gateway accepts it any more */
  "DELETE /v1/keys/{id}": { path: "id"; query: never; body: unknown; answer: unknown };
  /** Give an API key a new secret; the former one stays valid for a while */
  "POST /v1/keys/{id}/rotate": { path: "id"; query: never; body: bodies.RotationAsked; answer: answers.KeyRotated };
  /** End one of the two secrets of an API key that was rotated */
  "DELETE /v1/keys/{id}/secrets/{number}": { path: "id" | "number"; query: never; body: unknown; answer: unknown };
}
