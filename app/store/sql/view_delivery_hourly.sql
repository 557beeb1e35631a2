-- How many events of each kind happened in each hour.
CREATE OR REPLACE VIEW notify.delivery_hourly AS
SELECT hour, channel, provider, category, event_type, source, campaign_id, status, reason, sum(count) AS count
FROM notify.counts
GROUP BY hour, channel, provider, category, event_type, source, campaign_id, status, reason
