-- Recipients of whom events came that ``settled_sends`` doesn't know yet. Each insert is a part, which goes as a whole
-- when its recipients are settled; so parts are never merged.
CREATE TABLE IF NOT EXISTS notify.touched (recipient UInt64)
ENGINE = MergeTree
ORDER BY recipient
SETTINGS max_bytes_to_merge_at_max_space_in_pool = 1, max_bytes_to_merge_at_min_space_in_pool = 1,
    parts_to_delay_insert = 5000, parts_to_throw_insert = 20000, old_parts_lifetime = 60
