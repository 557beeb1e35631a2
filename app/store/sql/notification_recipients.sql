-- How many one notification was accepted for, and for how many of them something was decided.
SELECT
    uniqExactIf(user_id, status = 'accepted') AS recipients,
    minIf(occurred_at, status = 'accepted') AS created_at,
    uniqExactIf(user_id, status NOT IN ('accepted', 'repeated')) AS judged,
    any(source) AS source,
    groupUniqArray(100)(event_type) AS event_types
FROM notify.lifecycle
WHERE notification_id = {notification_id:String}
