-- Of each send the events that the pipe writes: most are delivered, some opened and clicked, a few tried again or failed.
INSERT INTO notify.lifecycle ($columns)
SELECT
    lower(hex(sipHash128(n, step.1, step.2))) AS event_id, lower(hex(sipHash128(n))) AS notification_id,
    concat('user-', toString(n * 7919 % $users)) AS user_id,
    if(step.1 = 'accepted', NULL, lower(hex(sipHash128('send', n)))) AS send_id,
    step.1 AS status,
    multiIf(step.1 = 'retrying', '503', step.1 = 'failed', 'permanent', step.1 = 'bounced', 'soft', NULL) AS reason,
    if(step.1 = 'accepted', NULL, channel_) AS channel,
    if(step.1 IN ('accepted', 'queued'), NULL, provider_) AS provider,
    if(step.1 IN ('accepted', 'queued'), NULL, step.3) AS attempt,
    concat('event.', toString(n % 40)) AS event_type, ['orders', 'social', 'security', 'marketing'][n % 4 + 1] AS category,
    ['high', 'normal', 'critical', 'low'][n % 4 + 1] AS priority, concat('service-', toString(n % 12)) AS source,
    if(n % 4 = 3, concat('campaign-', toString(intDiv(n, $a_campaign))), NULL) AS campaign_id,
    concat('template-', toString(n % 40)) AS template_id, 1 AS template_version, ['a', 'b'][n % 7 % 2 + 1] AS variant,
    1 AS policy_version,
    if(step.1 = 'sent', lower(hex(sipHash128('message', n))), NULL) AS provider_message_id, NULL AS replay_id,
    fromUnixTimestamp64Milli(toInt64($begin_ms + toInt64(n * $gap_ms) + step.2), 'UTC') AS occurred_at,
    if(step.1 IN ('accepted', 'queued'), '{"trail":[["erased",true],["repeated",true],["cancelled",true]]}', NULL) AS detail,
    occurred_at AS recorded_at, n % 8 AS topic_partition, n * 10 + step.3 AS topic_offset, NULL AS cap, false AS machine,
    if(step.1 = 'retrying', 'retry', '') AS answer
FROM
(
    SELECT
        number AS n, cityHash64(number) AS chance,
        ['push', 'email', 'sms', 'in_app'][chance % 10 < 6 ? 1 : (chance % 10 < 8 ? 2 : (chance % 10 < 9 ? 3 : 4))] AS channel_,
        ['fcm', 'ses', 'twilio', 'inbox'][chance % 10 < 6 ? 1 : (chance % 10 < 8 ? 2 : (chance % 10 < 9 ? 3 : 4))] AS provider_,
        chance % 1000 AS luck,
        toUInt32(80 + chance % 400) AS took,
        arrayJoin(arrayConcat(
            [('accepted', 0::UInt64, 0), ('queued', 3::UInt64, 0), ('sending', 20::UInt64, 1)],
            luck < 30 ? [('retrying', took::UInt64, 1), ('sending', 5000::UInt64, 2)] : [],
            luck < 990 ? [('sent', (luck < 30 ? 5000 : 20) + took, 1)] : [('failed', (luck < 30 ? 5000 : 20) + took, 1)],
            luck BETWEEN 30 AND 800 ? [('delivered', took + 900::UInt64, 0)] : [],
            luck BETWEEN 30 AND 280 ? [('opened', took + 60000 * (chance % 600), 0)] : [],
            luck BETWEEN 30 AND 80 ? [('clicked', took + 60000 * (chance % 600) + 4000, 0)] : [],
            luck BETWEEN 900 AND 902 ? [('unsubscribed', took + 90000::UInt64, 0)] : [],
            luck BETWEEN 970 AND 985 ? [('bounced', took + 7000::UInt64, 0)] : []
        )) AS step
    FROM numbers($first, $count)
)
