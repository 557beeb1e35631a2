-- How long sends took, by the hour in which the provider took them: accepted to sent, and sent to delivered.
CREATE OR REPLACE VIEW notify.latency_hourly AS
SELECT
    hour,
    channel,
    provider,
    priority,
    quantileExact(0.5)(dateDiff('millisecond', accepted_at, ended_at)) AS p50_ms,
    quantileExact(0.9)(dateDiff('millisecond', accepted_at, ended_at)) AS p90_ms,
    quantileExact(0.99)(dateDiff('millisecond', accepted_at, ended_at)) AS p99_ms,
    quantileExact(0.5)(dateDiff('millisecond', ended_at, delivered_at)) AS delivered_p50_ms,
    quantileExact(0.99)(dateDiff('millisecond', ended_at, delivered_at)) AS delivered_p99_ms,
    count() AS count
FROM notify.outcomes
WHERE status = 'sent'
GROUP BY hour, channel, provider, priority
