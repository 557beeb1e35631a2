-- In which time sends should be out, by version of the policy; -1: there is no target.
CREATE TABLE IF NOT EXISTS notify.targets
(
    policy_version UInt32,
    category       String,
    priority       String,
    target_ms      Int64
)
ENGINE = ReplacingMergeTree
ORDER BY (category, priority, policy_version)
