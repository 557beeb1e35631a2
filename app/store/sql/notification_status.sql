-- One notification's recipients and its sends by channel.
SELECT
    ifNull(channel, 'all') AS channel,
    countIf(ended_at IS NULL) AS pending,
    countIf(status = 'sent') AS sent,
    countIf(delivered_at IS NOT NULL) AS delivered,
    countIf(opened_at IS NOT NULL) AS opened,
    countIf(clicked_at IS NOT NULL) AS clicked,
    countIf(status = 'suppressed') AS suppressed,
    countIf(status = 'failed') AS failed,
    countIf(status = 'expired') AS expired,
    countIf(status = 'cancelled') AS cancelled,
    countIf(status = 'aggregated') AS aggregated,
    countIf(status = 'unknown') AS unknown
FROM notify.notifications
WHERE notification_id = {notification_id:String}
GROUP BY channel
ORDER BY channel
