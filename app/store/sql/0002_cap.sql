-- The cap that held an event back, beside ``detail``: of erased users that is emptied, and caps are counted all the same.
ALTER TABLE notify.lifecycle
    ADD COLUMN IF NOT EXISTS cap LowCardinality(Nullable(String)) DEFAULT nullIf(JSONExtractString(ifNull(detail, ''), 'cap'), '')
