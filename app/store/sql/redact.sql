-- Of erased users: rows stay with their pseudonymous id, for the views count them; what came of the user goes. Of what
-- came back only a bounce has a reason of ours. A plain NULL would leave the text in the part, under the mask of nulls.
ALTER TABLE notify.lifecycle
    UPDATE
        detail = materialize(CAST(NULL AS Nullable(String))),
        provider_message_id = materialize(CAST(NULL AS Nullable(String))),
        reason = if(rank = 5 AND status != 'bounced', materialize(CAST(NULL AS Nullable(String))), reason)
    WHERE $whose
    SETTINGS mutations_sync = 2
