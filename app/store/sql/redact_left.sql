-- How many rows of erased users still hold what came of them.
SELECT count() FROM notify.lifecycle
WHERE ($whose)
    AND (detail IS NOT NULL OR provider_message_id IS NOT NULL OR (rank = 5 AND status != 'bounced' AND reason IS NOT NULL))
