-- The payload of one leased job, for those that did not come with their claim: in a statement of
-- its own, so that one which cannot be read fails nobody else. Text of more than $4 bytes stays
-- where it is; its size alone is told. The lease's token is the guard.
SELECT
    octet_length(read.payload) AS bytes,
    CASE WHEN octet_length(read.payload) <= $4::integer THEN read.payload END AS payload
FROM (
    SELECT j.payload::text AS payload
    FROM signalstack.jobs AS j
    WHERE j.user_id = $1::uuid AND j.id = $2::uuid AND j.lease_token = $3::bigint
    -- Otherwise the text would be made once for each time that it is named.
    OFFSET 0
) AS read
