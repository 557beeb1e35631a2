-- Every row with its status's rank: a shown status never falls back in rank, except into or out of a wait.
CREATE OR REPLACE VIEW notify.ranked AS
SELECT
    *,
    multiIf(
        status IN ('accepted', 'repeated'), 0,
        status IN ('scheduled', 'held'), 1,
        status = 'queued', 2,
        status IN ('sending', 'in_doubt', 'retrying'), 3,
        status IN ('sent', 'suppressed', 'failed', 'expired', 'cancelled', 'aggregated', 'unknown'), 4,
        5
    ) AS rank
FROM notify.lifecycle
