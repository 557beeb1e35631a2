-- Hours in which something happened that the counts of hours and days don't know yet. Parts are never merged, as those
-- of ``touched``.
CREATE TABLE IF NOT EXISTS notify.dirty_hours (hour DateTime('UTC'))
ENGINE = MergeTree
ORDER BY hour
SETTINGS max_bytes_to_merge_at_max_space_in_pool = 1, max_bytes_to_merge_at_min_space_in_pool = 1,
    parts_to_delay_insert = 5000, parts_to_throw_insert = 20000, old_parts_lifetime = 60
