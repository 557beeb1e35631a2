-- Frozen: as a version without states had it. It serves while the states are made of the events that were there.
-- One row a send, or a recipient's channel that has none (channel null: all of them); its status is the end, else the
-- wait or the step it is at. What was said of a whole channel, or of all, before sends began is no row of its own
-- unless it was the end. A send of a replay counts from its own acceptance, and stands beside the one that it repeats.
CREATE OR REPLACE VIEW notify.notifications AS
SELECT
    notification_id, user_id, channel, send_id, status, reason, provider, event_type, category, priority, source,
    campaign_id, run_accepted_at AS accepted_at, ended_at, delivered_at, opened_at, clicked_at, replay_id
FROM
(
    SELECT
        *,
        if(replay_id IS NULL, minIf(accepted_at, replay_id IS NULL) OVER recipient, accepted_at) AS run_accepted_at,
        ifNull(replay_id, '') AS run,
        groupUniqArrayIf((run, ifNull(channel, '')), send_id IS NOT NULL) OVER recipient AS channels_with_sends,
        groupUniqArrayIf(run, channel IS NOT NULL AND rank > 0) OVER recipient AS runs_with_channels
    FROM notify.sends
    WINDOW recipient AS (PARTITION BY notification_id, user_id)
)
WHERE rank = 4 OR rank > 0 AND multiIf(
    send_id IS NOT NULL, true,
    channel IS NOT NULL, NOT has(channels_with_sends, (run, ifNull(channel, ''))),
    NOT has(runs_with_channels, run)
)
