-- Rows of settled_sends of some recipients. A send is of the hour and the campaign of its end; an end that has moved leaves
-- a row that isn't live at each other one.
SELECT
    arrayJoin(if(
        ended_at IS NULL,
        [(toDateTime('2100-01-01', 'UTC'), CAST(ifNull(r.campaign_id, ''), 'String'))],
        arrayDistinct(arrayMap(x -> (toStartOfHour(x.at), x.campaign), arrayFilter(x -> x.rank = 4, steps)))
    )) AS place,
    place.1 AS hour,
    CAST(nullIf(place.2, ''), 'LowCardinality(Nullable(String))') AS campaign_id,
    recipient,
    cityHash64(notification_id, user_id, ifNull(channel, ''), ifNull(send_id, ''), ifNull(replay_id, '')) AS row,
    true AS has_send,
    channel,
    provider,
    category,
    priority,
    template_id,
    template_version,
    variant,
    status,
    step.policy_version AS policy_version,
    accepted_at,
    arrayFilter(x -> x.status = 'queued', steps) AS queued,
    greatest(if(empty(queued), accepted_at, queued[1].at), ifNull(held_until, toDateTime64(0, 3, 'UTC'))) AS due_from,
    ended_at,
    delivered_at,
    opened_at IS NOT NULL AS opened,
    clicked_at IS NOT NULL AS clicked,
    bounced,
    complained,
    unsubscribed,
    ended_at IS NULL OR place = (toStartOfHour(step.at), step.campaign) AS live
FROM notify.runs AS r
WHERE ($whose) AND send_id IS NOT NULL AND (rank = 4 OR delivered_at IS NOT NULL OR bounced OR complained OR unsubscribed)
