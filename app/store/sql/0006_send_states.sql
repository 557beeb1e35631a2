-- What is known of each send, and of what was said of a channel or of all of them (send_id, channel empty), as events
-- come in. Each state is a minimum, a maximum or a set: an event that comes twice, late or in another order changes
-- nothing. ``recipient`` is a hash that keeps the recipients of one notification together.
CREATE TABLE IF NOT EXISTS notify.send_states
(
    recipient        UInt64 CODEC(Delta, LZ4),
    channel          LowCardinality(String),
    send_id          String CODEC(ZSTD(1)),
    replay_id        LowCardinality(String),
    notification_id  String CODEC(ZSTD(1)),
    user_id          String CODEC(ZSTD(1)),
    month            Date CODEC(Delta, ZSTD(1)),
    steps            SimpleAggregateFunction(groupUniqArrayArray, Array(Tuple(
        rank UInt8, at DateTime64(3, 'UTC'), status String, reason String, provider String, attempt UInt32,
        policy_version UInt32, campaign String
    ))) CODEC(ZSTD(1)),
    event_type       SimpleAggregateFunction(max, LowCardinality(Nullable(String))),
    category         SimpleAggregateFunction(max, LowCardinality(Nullable(String))),
    priority         SimpleAggregateFunction(max, LowCardinality(Nullable(String))),
    source           SimpleAggregateFunction(max, LowCardinality(Nullable(String))),
    campaign_id      SimpleAggregateFunction(max, LowCardinality(Nullable(String))),
    template_id      SimpleAggregateFunction(max, LowCardinality(Nullable(String))),
    template_version SimpleAggregateFunction(max, Nullable(UInt32)),
    variant          SimpleAggregateFunction(max, LowCardinality(Nullable(String))),
    accepted_at      SimpleAggregateFunction(min, Nullable(DateTime64(3, 'UTC'))) CODEC(ZSTD(1)),
    held_until       SimpleAggregateFunction(max, Nullable(DateTime64(3, 'UTC'))) CODEC(ZSTD(1)),
    delivered_at     SimpleAggregateFunction(min, Nullable(DateTime64(3, 'UTC'))) CODEC(ZSTD(1)),
    opened_at        SimpleAggregateFunction(min, Nullable(DateTime64(3, 'UTC'))) CODEC(ZSTD(1)),
    clicked_at       SimpleAggregateFunction(min, Nullable(DateTime64(3, 'UTC'))) CODEC(ZSTD(1)),
    bounced          SimpleAggregateFunction(max, UInt8),
    complained       SimpleAggregateFunction(max, UInt8),
    unsubscribed     SimpleAggregateFunction(max, UInt8),
    INDEX of_notification notification_id TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX of_user user_id TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = AggregatingMergeTree
PARTITION BY month
PRIMARY KEY recipient
ORDER BY (recipient, channel, send_id, replay_id, notification_id, user_id)
SETTINGS ttl_only_drop_parts = 1
