-- What sends came to that have ended or of which something came back, by the hour of their end: as it is settled; of
-- recipients of whom something came since, folded anew. (A version before settled what has no send, too.)
CREATE OR REPLACE VIEW notify.outcomes AS
SELECT
    hour, recipient, campaign_id, channel, provider, category, priority, template_id, template_version, variant, status,
    policy_version, accepted_at, due_from, ended_at, delivered_at, opened, clicked, bounced, complained, unsubscribed
FROM notify.settled_sends FINAL
WHERE live AND has_send AND (recipient NOT IN (SELECT recipient FROM notify.touched)
    OR hour < (SELECT max(at) FROM notify.computed WHERE what = 'sealed_sends'))
UNION ALL
SELECT
    hour, recipient, campaign_id, channel, provider, category, priority, template_id, template_version, variant, status,
    policy_version, accepted_at, due_from, ended_at, delivered_at, opened, clicked, bounced, complained, unsubscribed
FROM ($folded)
WHERE live AND hour >= (SELECT max(at) FROM notify.computed WHERE what = 'sealed_sends')
