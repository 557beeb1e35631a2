-- Frozen: as a version without states had it. It serves while the states are made of the events that were there.
-- What became of the sends of each campaign, template and variant: each send counts once, however often it was opened.
CREATE OR REPLACE VIEW notify.engagement AS
SELECT
    campaign_id,
    template_id,
    template_version,
    variant,
    channel,
    countIf(status = 'sent') AS sent,
    countIf(delivered_at IS NOT NULL) AS delivered,
    countIf(opened_at IS NOT NULL) AS opened,
    countIf(clicked_at IS NOT NULL) AS clicked,
    countIf(bounced) AS bounced,
    countIf(complained) AS complained,
    countIf(unsubscribed) AS unsubscribed
FROM notify.sends
WHERE send_id IS NOT NULL
GROUP BY campaign_id, template_id, template_version, variant, channel
