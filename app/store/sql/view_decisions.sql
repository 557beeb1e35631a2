-- What the rules kept back and why, by hour: suppressed, or held.
CREATE OR REPLACE VIEW notify.decisions AS
SELECT hour, category, event_type, channel, reason, cap, sum(count) AS count
FROM notify.counts
WHERE status IN ('suppressed', 'held')
GROUP BY hour, category, event_type, channel, reason, cap
