-- Frozen: as a version without states had it. It serves while the states are made of the events that were there.
-- How many events of each kind happened in each hour.
CREATE OR REPLACE VIEW notify.delivery_hourly AS
SELECT
    toStartOfHour(occurred_at) AS hour, channel, provider, category, event_type, source, campaign_id, status, reason,
    count() AS count
FROM notify.lifecycle FINAL
WHERE status != 'device_retired'
GROUP BY hour, channel, provider, category, event_type, source, campaign_id, status, reason
