/** What an inbox shows of a notification. */
export interface InboxItem {
  id: string;
  title: string;
  body: string;
  url: string | null;
  image: string | null;
  data: Record<string, unknown>;
  created_at: string;
  seen: boolean;
  read: boolean;
  archived: boolean;
  icon: string | null;
  actions: { label: string; url: string }[];
  expires_at: string | null;
  category: string;
  snoozed_until: string | null;
}

export type InboxLabel =
  | "bell" | "unread" | "title" | "empty" | "archive" | "inbox" | "readAll" | "read" | "unreadMark" | "archiveItem"
  | "snooze" | "hour" | "tomorrow" | "week" | "close" | "offline" | "failed" | "arrived"
  | "preferences" | "back" | "everything" | "always" | "push" | "email" | "sms" | "in_app" | "saved" | "notSaved";

/** `<tocsin-inbox user gateway token lang theme align schemes>` */
export declare class TocsinInbox extends HTMLElement {
  /** Called for a user's token whenever one is needed; null: the attribute `token` is one. */
  getToken: (() => string | Promise<string>) | null;
  labels: Partial<Record<InboxLabel, string>>;
  readonly counts: { unread: number; unseen: number };
  readonly items: InboxItem[];
  open(): void;
  close(): void;
}

declare global {
  interface HTMLElementTagNameMap {
    "tocsin-inbox": TocsinInbox;
  }
  interface HTMLElementEventMap {
    "tocsin-notification": CustomEvent<InboxItem>;
    "tocsin-count": CustomEvent<{ unread: number; unseen: number }>;
    "tocsin-open": CustomEvent<InboxItem>;
  }
}
