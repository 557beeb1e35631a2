-- What made a send be tried again (``retry``, ``throttle``, ``config``, ``not_called``), beside ``detail``, which may be
-- emptied. Rows that were written before have none.
ALTER TABLE notify.lifecycle ADD COLUMN IF NOT EXISTS answer LowCardinality(String)
