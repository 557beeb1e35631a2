-- Of rows that were there before. ClickHouse does it in the background, and goes on after a restart; the views answer
-- meanwhile.
ALTER TABLE notify.settled_sends MATERIALIZE INDEX of_campaign
