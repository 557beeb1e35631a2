SELECT
    toDate(occurred_at) AS day,
    one.1 AS what,
    category,
    channel,
    one.2 AS who
FROM $events
ARRAY JOIN if(
    status = 'sent',
    [('user', sipHash64(user_id)), ('notification', sipHash64(notification_id))],
    [('opted_out', sipHash64(user_id))]
) AS one
WHERE status IN ('sent', 'unsubscribed')
