SELECT DISTINCT
    bitOr(bitShiftLeft(bitShiftRight(cityHash64(notification_id), 32), 32), bitShiftRight(cityHash64(user_id), 32)) AS recipient
FROM $events
WHERE status != 'device_retired'
