-- What became of everything that was meant for one user, newest first, before a position.
SELECT
    notification_id,
    event_type,
    category,
    channel,
    status,
    reason,
    accepted_at AS at,
    ifNull(channel, '') AS of_channel,
    ifNull(send_id, '') AS of_send
FROM notify.notifications
WHERE user_id = {user_id:String}
    AND accepted_at >= parseDateTime64BestEffort({since:String}, 3, 'UTC')
    AND (accepted_at, notification_id, of_channel, of_send)
        < (parseDateTime64BestEffort({before_at:String}, 3, 'UTC'), {before_id:String}, {before_channel:String}, {before_send:String})
ORDER BY accepted_at DESC, notification_id DESC, of_channel DESC, of_send DESC
LIMIT {limit:UInt32}
