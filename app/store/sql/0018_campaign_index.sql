-- Which parts of settled_sends hold a campaign: they are in the order of the hour. The campaign is a part of the sorting
-- key, so that no row is skipped which would replace one that is read.
ALTER TABLE notify.settled_sends ADD INDEX IF NOT EXISTS of_campaign campaign_id TYPE bloom_filter(0.001) GRANULARITY 1
