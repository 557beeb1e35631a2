-- What every send has come to; where send_id is null, what was said of a channel, or (channel null) of all of them.
CREATE OR REPLACE VIEW notify.sends AS
SELECT * EXCEPT (recipient, steps, step, waited_at, held_until)
FROM notify.folds
