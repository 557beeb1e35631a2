SELECT DISTINCT toStartOfHour(occurred_at) AS hour
FROM $events
WHERE status != 'device_retired'
