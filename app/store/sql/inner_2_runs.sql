-- ``folds``, and what they share: a send of a replay counts from its own acceptance, the others from the recipient's.
CREATE OR REPLACE VIEW notify.runs AS
SELECT
    * EXCEPT (accepted_at),
    if(replay_id IS NULL, minIf(accepted_at, replay_id IS NULL) OVER all_of_it, accepted_at) AS accepted_at,
    ifNull(replay_id, '') AS run,
    groupUniqArrayIf((run, ifNull(channel, '')), send_id IS NOT NULL) OVER all_of_it AS channels_with_sends,
    groupUniqArrayIf(run, channel IS NOT NULL AND rank > 0) OVER all_of_it AS runs_with_channels
FROM notify.folds
WINDOW all_of_it AS (PARTITION BY recipient, notification_id, user_id)
