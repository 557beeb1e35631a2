-- Frozen: as a version without states had it. It serves while the states are made of the events that were there.
-- What every send has come to, folded from its events; where send_id is null, what was said of a channel, or (channel
-- null) of all of them. An event read twice changes no fold, so this needs no FINAL.
CREATE OR REPLACE VIEW notify.sends AS
SELECT
    e.notification_id AS notification_id,
    e.user_id AS user_id,
    e.channel AS channel,
    e.send_id AS send_id,
    e.replay_id AS replay_id,
    -- The end; else the furthest step since the last wait began, which may be that wait itself.
    maxIf(e.occurred_at, e.rank = 1) AS waited_at,
    groupArrayIf((e.rank, e.occurred_at, e.status, ifNull(e.reason, '')), e.rank BETWEEN 1 AND 4) AS steps,
    arraySort(arrayFilter(s -> s.1 = 4 OR s.2 >= waited_at, steps))[-1] AS step,
    step.1 AS rank,
    step.3 AS status,
    nullIf(step.4, '') AS reason,
    argMaxIf(e.provider, e.occurred_at, e.provider IS NOT NULL AND e.rank < 5) AS provider,
    any(e.event_type) AS event_type,
    any(e.category) AS category,
    any(e.priority) AS priority,
    any(e.source) AS source,
    any(e.campaign_id) AS campaign_id,
    any(e.template_id) AS template_id,
    any(e.template_version) AS template_version,
    any(e.variant) AS variant,
    minOrNullIf(e.occurred_at, e.status = 'accepted') AS accepted_at,
    if(rank = 4, step.2, NULL) AS ended_at,
    minOrNullIf(e.occurred_at, e.status IN ('delivered', 'opened', 'clicked', 'seen', 'read')) AS delivered_at,
    minOrNullIf(e.occurred_at, e.status IN ('opened', 'clicked', 'read')) AS opened_at,
    minOrNullIf(e.occurred_at, e.status = 'clicked') AS clicked_at,
    max(e.status = 'bounced') AS bounced,
    max(e.status = 'complained') AS complained,
    max(e.status = 'unsubscribed') AS unsubscribed
FROM notify.lifecycle AS e
WHERE e.status != 'device_retired'
GROUP BY e.notification_id, e.user_id, e.channel, e.send_id, e.replay_id
