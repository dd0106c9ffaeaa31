-- Let the transaction that this ends commit without waiting for the disk. Sent behind writes whose
-- callers are answered only by a later commit that does wait, and so takes these to the disk too.
SELECT set_config('synchronous_commit', 'off', true)
