-- Frozen: as a version without states had it. It serves while the states are made of the events that were there.
-- How many sends ended in each hour, and how many of them were out within their category's target. It counts from when
-- they were queued, which is when they were accepted unless a rule had them wait before; or from the end of the latest
-- quiet hours that held them after that. What has no target isn't measured. The target is that of the policy that was in
-- force at the end; of a version that isn't known, of the one before; of none, as the priority has it.
CREATE OR REPLACE VIEW notify.slo_hourly AS
SELECT
    toStartOfHour(assumeNotNull(ended_at)) AS hour,
    category,
    priority,
    count() AS total,
    countIf(ended_as = 'sent' AND dateDiff('millisecond', greatest(queued_at, held_until), ended_at) <= target_ms) AS within,
    target_ms
FROM
(
    SELECT
        ends.* EXCEPT (policy_version),
        multiIf(
            targets.target_ms > 0, targets.target_ms,
            targets.target_ms < 0, NULL,
            ends.priority = 'critical', 10000,
            ends.priority = 'high', 60000,
            ends.priority = 'normal', 300000,
            NULL
        ) AS target_ms
    FROM
    (
        SELECT
            ifNull(any(e.category), '') AS category,
            ifNull(any(e.priority), '') AS priority,
            minIf(e.occurred_at, e.status IN ('sent', 'failed', 'expired', 'unknown')) AS ended_at,
            argMinIf(e.status, e.occurred_at, e.rank = 4) AS ended_as,
            ifNull(argMinIf(e.policy_version, e.occurred_at, e.rank = 4), 0) AS policy_version,
            minIf(e.occurred_at, e.status = 'queued') AS queued_at,
            maxIf(
                ifNull(parseDateTime64BestEffortOrNull(JSONExtractString(ifNull(e.detail, ''), 'until'), 3, 'UTC'), e.occurred_at),
                e.status = 'held' AND ifNull(e.reason, '') = 'quiet_hours'
            ) AS held_until
        FROM notify.lifecycle AS e
        WHERE e.send_id IS NOT NULL AND e.status != 'device_retired'
        GROUP BY e.notification_id, e.user_id, e.send_id
        HAVING ended_as IN ('sent', 'failed', 'expired', 'unknown')
    ) AS ends
    ASOF LEFT JOIN notify.targets AS targets
        ON ends.category = targets.category AND ends.priority = targets.priority
        AND ends.policy_version >= targets.policy_version
)
WHERE target_ms IS NOT NULL
GROUP BY hour, category, priority, target_ms
