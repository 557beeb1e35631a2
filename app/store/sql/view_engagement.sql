-- What became of the sends of each campaign, template and variant: each send counts once, however often it was opened.
CREATE OR REPLACE VIEW notify.engagement AS
SELECT
    campaign_id,
    template_id,
    template_version,
    variant,
    channel,
    countIf(o.status = 'sent') AS sent,
    countIf(o.delivered_at IS NOT NULL) AS delivered,
    countIf(o.opened) AS opened,
    countIf(o.clicked) AS clicked,
    countIf(o.bounced) AS bounced,
    countIf(o.complained) AS complained,
    countIf(o.unsubscribed) AS unsubscribed
FROM notify.outcomes AS o
GROUP BY campaign_id, template_id, template_version, variant, channel
