-- How many sends ended in each hour, and how many of them were out within their category's target. It counts from when
-- they were queued, which is when they were accepted unless a rule had them wait before; or from the end of the latest
-- quiet hours that held them after that. What has no target isn't measured. The target is that of the policy that was in
-- force at the end; of a version that isn't known, of the one before; of none, as the priority has it.
CREATE OR REPLACE VIEW notify.slo_hourly AS
SELECT
    hour,
    category,
    priority,
    count() AS total,
    countIf(status = 'sent' AND dateDiff('millisecond', due_from, ended_at) <= target_ms) AS within,
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
            hour, CAST(ifNull(category, ''), 'String') AS category, CAST(ifNull(priority, ''), 'String') AS priority, status,
            policy_version, due_from, ended_at
        FROM notify.outcomes
        WHERE status IN ('sent', 'failed', 'expired', 'unknown')
    ) AS ends
    ASOF LEFT JOIN notify.targets AS targets
        ON ends.category = targets.category AND ends.priority = targets.priority
        AND ends.policy_version >= targets.policy_version
)
WHERE target_ms IS NOT NULL
GROUP BY hour, category, priority, target_ms
