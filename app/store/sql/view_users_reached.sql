-- On each day, how many users and notifications had something sent, and how many users opted out.
CREATE OR REPLACE VIEW notify.users_reached AS
SELECT day, category, channel, users, notifications, opted_out
FROM notify.reach_counts
WHERE (toDateTime(day, 'UTC'), version) IN (SELECT at, max(version) FROM notify.computed WHERE what = 'day' GROUP BY at)
    AND day NOT IN (SELECT toDate(hour) FROM notify.dirty_hours WHERE hour >= (SELECT max(at) FROM notify.computed WHERE what = 'sealed'))
UNION ALL
SELECT
    day, category, channel, countIf(what = 'user') AS users, countIf(what = 'notification') AS notifications,
    countIf(what = 'opted_out') AS opted_out
FROM notify.reached FINAL
WHERE day IN (SELECT toDate(hour) FROM notify.dirty_hours WHERE hour >= (SELECT max(at) FROM notify.computed WHERE what = 'sealed'))
GROUP BY day, category, channel
