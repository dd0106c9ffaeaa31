-- Whose turn was the last one in an operator's queue whose limits all tenants share: the next one
-- is that of the tenant that comes behind it.
ALTER TABLE signalstack.queues ADD COLUMN turn uuid;

-- A message that waits may be changed, and is looked for by its number meanwhile.
CREATE FUNCTION signalstack.change_message() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UPDATE signalstack.messages AS m
    SET
        phone_number = coalesce(NEW.payload ->> 'phone_number', m.phone_number),
        content = coalesce(NEW.payload ->> 'content', m.content),
        updated_at = now()
    WHERE m.user_id = NEW.user_id AND m.id = NEW.id AND m.status = 'pending';
    RETURN NULL;
END
$$;

CREATE TRIGGER change_message
AFTER UPDATE OF payload ON signalstack.jobs
FOR EACH ROW
WHEN (new.type = 'send_message' AND new.payload IS DISTINCT FROM old.payload)
EXECUTE FUNCTION signalstack.change_message();
