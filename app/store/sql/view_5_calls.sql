-- What calls of providers came to: as it is settled; of recipients of whom something came since, folded anew.
CREATE OR REPLACE VIEW notify.calls AS
SELECT hour, provider, answer, in_doubt, settled, ms
FROM notify.settled_calls FINAL
WHERE recipient NOT IN (SELECT recipient FROM notify.touched)
    OR hour < (SELECT max(at) FROM notify.computed WHERE what = 'sealed_sends')
UNION ALL
SELECT hour, provider, answer, in_doubt, settled, ms
FROM ($folded)
WHERE hour >= (SELECT max(at) FROM notify.computed WHERE what = 'sealed_sends')
