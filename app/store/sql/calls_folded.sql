-- Rows of settled_calls of some recipients. A call's answer is the first step after it, of its send; what was in doubt was
-- answered by nobody, and neither was what was put off before anybody was called. The next call of the send begins another
-- story. A retry has the kind of its answer where an end has its campaign; those of before have none, and their codes are
-- taken for it.
SELECT
    toStartOfHour(call.at) AS hour,
    recipient,
    cityHash64(notification_id, user_id, ifNull(channel, ''), ifNull(send_id, ''), ifNull(replay_id, '')) AS row,
    call.at AS began_at,
    call.attempt AS attempt,
    nullIf(call.provider, '') AS provider,
    arrayFirst(x -> x.status IN ('sent', 'failed', 'retrying', 'held', 'in_doubt'), after) AS first,
    multiIf(
        first.status = 'sent', 'accepted',
        first.status = 'failed', if(first.reason = 'bad_template', '', 'refused'),
        first.status != 'retrying' OR first.campaign = 'not_called' OR first.reason IN ('lane_full', 'lane_rests'), '',
        first.campaign != '', if(first.campaign = 'throttle', 'throttled', 'refused'),
        first.reason != 'TooManyProviderTokenUpdates' AND (
            multiSearchAnyCaseInsensitive(first.reason, ['throttl', 'toomany', '429', 'quota', 'limit', 'exhausted', 'capacity'])
            OR (first.provider, first.reason) IN (('twilio', '21611'), ('twilio', '30001'), ('vonage', '1'), ('vonage', '10'), ('webpush', '406'))
        ), 'throttled',
        'refused'
    ) AS answer,
    arrayExists(x -> x.status = 'in_doubt', after) AS in_doubt,
    if(in_doubt, arrayFirst(x -> x.status IN ('sent', 'unknown', 'failed'), after).status, '') AS settled_as,
    if(settled_as IN ('sent', 'unknown'), settled_as, '') AS settled,
    if(answer = '', NULL, dateDiff('millisecond', call.at, first.at)) AS ms
FROM
(
    SELECT
        *,
        arraySort(x -> (x.at, x.attempt, x.status != 'sending', x.rank, x.status), arrayFilter(x -> x.rank > 2 OR x.status = 'held', steps)) AS ordered,
        arrayJoin(arrayFilter((i, x) -> x.status = 'sending', arrayEnumerate(ordered), ordered)) AS at_step,
        ordered[at_step] AS call,
        arraySlice(ordered, at_step + 1) AS rest,
        arrayFirstIndex(x -> x.status = 'sending', rest) AS following,
        if(following = 0, rest, arraySlice(rest, 1, following - 1)) AS after
    FROM notify.folds
    WHERE ($whose) AND arrayExists(x -> x.status = 'sending', steps)
)
