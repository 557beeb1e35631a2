-- Of rows that were written before, so that it stays when their detail goes.
ALTER TABLE notify.lifecycle MATERIALIZE COLUMN cap SETTINGS mutations_sync = 1
