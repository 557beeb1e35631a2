-- What each provider was asked for in each hour, and what it answered. Times are from a call to its answer.
CREATE OR REPLACE VIEW notify.provider_hourly AS
SELECT
    hour,
    provider,
    count() AS calls,
    countIf(c.answer = 'accepted') AS accepted,
    countIf(c.answer = 'refused') AS refused,
    countIf(c.answer = 'throttled') AS throttled,
    countIf(c.in_doubt) AS in_doubt,
    countIf(c.settled = 'sent') AS settled_sent,
    countIf(c.settled = 'unknown') AS unknown,
    quantileExact(0.5)(ms) AS p50_ms,
    quantileExact(0.99)(ms) AS p99_ms
FROM notify.calls AS c
GROUP BY hour, provider
