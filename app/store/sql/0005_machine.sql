-- Whether a machine opened or clicked (a mail client's prefetch, a link scanner), beside ``detail``, which may be emptied.
ALTER TABLE notify.lifecycle
    ADD COLUMN IF NOT EXISTS machine Bool DEFAULT JSONExtractBool(ifNull(detail, ''), 'machine')
