-- Rows of settled_calls of some recipients. A call's answer is the first step after it, of its send; what was in doubt was
-- answered by nobody. The next call of the send begins another story.
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
        first.status = 'retrying' AND (
            multiSearchAnyCaseInsensitive(first.reason, ['throttl', 'toomany', '429', 'quota', 'limit', 'exhausted', 'capacity'])
            OR first.reason IN ('21611', '30001') OR first.provider = 'vonage' AND first.reason = '1'
        ), 'throttled',
        first.status IN ('failed', 'retrying', 'held'), 'refused',
        ''
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
