SELECT
    toStartOfHour(occurred_at) AS hour,
    cityHash64(
        ifNull(channel, ''), ifNull(provider, ''), ifNull(category, ''), ifNull(event_type, ''), ifNull(source, ''),
        ifNull(campaign_id, ''), status
    ) AS kind,
    sipHash64(event_id) AS event,
    channel, provider, category, event_type, source, campaign_id, status,
    -- (Of what came back only a bounce has a reason of ours. Another comes of the user, and counts are kept for ever.)
    if(rank = 5 AND status != 'bounced', NULL, reason) AS reason,
    cap
FROM $events
WHERE status != 'device_retired' AND NOT (machine AND status IN ('opened', 'clicked'))
