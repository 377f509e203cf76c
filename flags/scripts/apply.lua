-- apply(head, ledger, objects, contents, workers;
--       revision, hash,                    the head that the writer read
--       new revision, new hash,            the head after this write
--       affecting or "",                   the newest of these revisions that can alter an evaluation
--       n, n * (revision, entry, object or "", stored or ""),
--       any number of (content hash, content))
-- → {"committed" | "already" | "moved", milliseconds of Redis' clock, workers as a flat list}
--
-- The only writer of head, ledger, objects and contents. Lua does not undo: XADD comes first, because it
-- is the command that can refuse (an id that exists already), then the objects, then the head. Of a batch
-- the first XADD decides: the ids that follow are higher. Want of memory and of disk Redis looks at before
-- a script's first write and not again; replicas and the append-only file get all writes as one MULTI. So
-- entries without their objects can come only of a key that somebody made another type: then the head
-- stays, and every later write is refused (LedgerBroken).
-- "already" answers a writer that asks again after a time-out: its first entry stands in the ledger.
local now = redis.call('TIME')
local milliseconds = now[1] * 1000 + math.floor(now[2] / 1000)
local head = redis.call('HMGET', KEYS[1], 'revision', 'hash')
if (head[1] or '0') ~= ARGV[1] or (head[2] or '') ~= ARGV[2] then
  local found = redis.call('XRANGE', KEYS[2], ARGV[7] .. '-0', ARGV[7] .. '-0')
  if found[1] and found[1][2][2] == ARGV[8] then
    return {'already', milliseconds, redis.call('HGETALL', KEYS[5])}
  end
  return {'moved', milliseconds, {}}
end

local last = 6 + 4 * tonumber(ARGV[6])
for i = 7, last, 4 do
  redis.call('XADD', KEYS[2], ARGV[i] .. '-0', 'e', ARGV[i + 1])
end
for i = last + 1, #ARGV, 2 do
  redis.call('HSETNX', KEYS[4], ARGV[i], ARGV[i + 1])
end
for i = 7, last, 4 do
  if ARGV[i + 2] ~= '' then
    if ARGV[i + 3] == '' then
      redis.call('HDEL', KEYS[3], ARGV[i + 2])
    else
      redis.call('HSET', KEYS[3], ARGV[i + 2], ARGV[i + 3])
    end
  end
end
redis.call('HSET', KEYS[1], 'revision', ARGV[3], 'hash', ARGV[4])
if ARGV[5] ~= '' then
  redis.call('HSET', KEYS[1], 'affecting', ARGV[5])
end
return {'committed', milliseconds, redis.call('HGETALL', KEYS[5])}
