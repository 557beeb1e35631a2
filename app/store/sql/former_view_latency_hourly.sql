-- Frozen: as a version without states had it. It serves while the states are made of the events that were there.
-- How long sends took, by the hour in which the provider took them: accepted to sent, and sent to delivered.
CREATE OR REPLACE VIEW notify.latency_hourly AS
SELECT
    toStartOfHour(assumeNotNull(ended_at)) AS hour,
    channel,
    provider,
    priority,
    quantileExact(0.5)(sent_ms) AS p50_ms,
    quantileExact(0.9)(sent_ms) AS p90_ms,
    quantileExact(0.99)(sent_ms) AS p99_ms,
    quantileExact(0.5)(delivered_ms) AS delivered_p50_ms,
    quantileExact(0.99)(delivered_ms) AS delivered_p99_ms,
    count() AS count
FROM
(
    SELECT
        *,
        dateDiff('millisecond', accepted_at, ended_at) AS sent_ms,
        dateDiff('millisecond', ended_at, delivered_at) AS delivered_ms
    FROM notify.notifications
    WHERE status = 'sent'
)
GROUP BY hour, channel, provider, priority
