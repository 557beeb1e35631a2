-- How many events of each kind happened in each hour: as they were counted; in hours in which something happened since,
-- counted anew.
CREATE OR REPLACE VIEW notify.counts AS
SELECT hour, channel, provider, category, event_type, source, campaign_id, status, reason, cap, count
FROM notify.delivery_counts
WHERE (hour, version) IN (SELECT at, max(version) FROM notify.computed WHERE what = 'hour' GROUP BY at)
    AND hour NOT IN (SELECT hour FROM notify.dirty_hours WHERE hour >= (SELECT max(at) FROM notify.computed WHERE what = 'sealed'))
UNION ALL
SELECT hour, channel, provider, category, event_type, source, campaign_id, status, reason, cap, count() AS count
FROM notify.hour_events FINAL
WHERE hour IN (SELECT hour FROM notify.dirty_hours WHERE hour >= (SELECT max(at) FROM notify.computed WHERE what = 'sealed'))
GROUP BY hour, channel, provider, category, event_type, source, campaign_id, status, reason, cap
