-- anchored(head, anchor, checkpoint)
-- → {revision, hash, revision of the anchor or nil, its hash, size, frontier, revision of the checkpoint or nil, its hash}
--
-- One instant: where the ledger ends, where its anchor was taken, and where it begins. Writes nothing.
local head = redis.call('HMGET', KEYS[1], 'revision', 'hash')
local anchor = redis.call('HMGET', KEYS[2], 'revision', 'hash', 'size', 'frontier')
local checkpoint = redis.call('HMGET', KEYS[3], 'revision', 'hash')
return {head[1] or '0', head[2] or '', anchor[1], anchor[2], anchor[3], anchor[4], checkpoint[1], checkpoint[2]}
