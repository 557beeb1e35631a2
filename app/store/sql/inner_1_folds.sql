-- What every send has come to, folded from its states; where send_id is null, what was said of a channel, or (channel
-- null) of all of them.
CREATE OR REPLACE VIEW notify.folds AS
SELECT
    s.recipient AS recipient,
    s.notification_id AS notification_id,
    s.user_id AS user_id,
    nullIf(s.channel, '') AS channel,
    nullIf(s.send_id, '') AS send_id,
    nullIf(s.replay_id, '') AS replay_id,
    arraySort(groupUniqArrayArray(s.steps)) AS steps,
    -- The end; else the furthest step since the last wait began, which may be that wait itself.
    arrayFilter(x -> x.rank = 1, steps)[-1].at AS waited_at,
    arrayFilter(x -> x.rank = 4 OR x.at >= waited_at, steps)[-1] AS step,
    step.rank AS rank,
    step.status AS status,
    nullIf(step.reason, '') AS reason,
    nullIf(arraySort(x -> (x.at, x.rank), arrayFilter(x -> x.provider != '', steps))[-1].provider, '') AS provider,
    max(s.event_type) AS event_type,
    max(s.category) AS category,
    max(s.priority) AS priority,
    max(s.source) AS source,
    max(s.campaign_id) AS campaign_id,
    max(s.template_id) AS template_id,
    max(s.template_version) AS template_version,
    max(s.variant) AS variant,
    min(s.accepted_at) AS accepted_at,
    max(s.held_until) AS held_until,
    if(rank = 4, step.at, NULL) AS ended_at,
    min(s.delivered_at) AS delivered_at,
    min(s.opened_at) AS opened_at,
    min(s.clicked_at) AS clicked_at,
    max(s.bounced) AS bounced,
    max(s.complained) AS complained,
    max(s.unsubscribed) AS unsubscribed
FROM notify.send_states AS s
GROUP BY s.recipient, s.notification_id, s.user_id, s.channel, s.send_id, s.replay_id
