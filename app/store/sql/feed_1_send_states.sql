SELECT
    bitOr(bitShiftLeft(bitShiftRight(cityHash64(notification_id), 32), 32), bitShiftRight(cityHash64(user_id), 32)) AS recipient,
    CAST(ifNull(channel, ''), 'LowCardinality(String)') AS channel,
    ifNull(send_id, '') AS send_id,
    CAST(ifNull(replay_id, ''), 'LowCardinality(String)') AS replay_id,
    notification_id,
    user_id,
    toStartOfMonth(occurred_at) AS month,
    if(
        rank BETWEEN 1 AND 4,
        [(
            rank, occurred_at, CAST(status, 'String'), CAST(ifNull(reason, ''), 'String'), CAST(ifNull(provider, ''), 'String'),
            ifNull(attempt, 0), ifNull(policy_version, 0), CAST(if(rank = 4, ifNull(campaign_id, ''), answer), 'String')
        )],
        []
    ) AS steps,
    event_type,
    category,
    priority,
    source,
    campaign_id,
    template_id,
    template_version,
    variant,
    if(status = 'accepted', toNullable(occurred_at), NULL) AS accepted_at,
    if(
        status = 'held' AND ifNull(reason, '') = 'quiet_hours',
        ifNull(parseDateTime64BestEffortOrNull(JSONExtractString(ifNull(detail, ''), 'until'), 3, 'UTC'), occurred_at),
        NULL
    ) AS held_until,
    if(status IN ('delivered', 'opened', 'clicked', 'seen', 'read'), toNullable(occurred_at), NULL) AS delivered_at,
    if(status IN ('opened', 'clicked', 'read') AND NOT machine, toNullable(occurred_at), NULL) AS opened_at,
    if(status = 'clicked' AND NOT machine, toNullable(occurred_at), NULL) AS clicked_at,
    status = 'bounced' AS bounced,
    status = 'complained' AS complained,
    status = 'unsubscribed' AS unsubscribed
FROM $events
WHERE status != 'device_retired'
