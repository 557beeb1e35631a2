-- One notification's events, each once, oldest first, after a position.
SELECT
    $columns,
    rank,
    topic_offset
FROM notify.lifecycle FINAL
WHERE notification_id = {notification_id:String}
    AND ({user_id:String} = '' OR user_id = {user_id:String})
    AND (occurred_at, rank, topic_offset, event_id)
        > (parseDateTime64BestEffort({after_at:String}, 3, 'UTC'), {after_rank:UInt8}, {after_offset:UInt64}, {after_id:String})
ORDER BY occurred_at, rank, topic_offset, event_id
LIMIT {limit:UInt32}
