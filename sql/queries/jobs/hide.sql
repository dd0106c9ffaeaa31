-- Hide a finished job from its tenant; it is still counted, and goes with its partition. Guarded by
-- hidden_at: hidden is hidden.
UPDATE signalstack.finished_jobs
SET hidden_at = now()
WHERE user_id = %(user_id)s::uuid AND id = %(id)s::uuid AND hidden_at IS NULL;
