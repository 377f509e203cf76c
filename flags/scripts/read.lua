-- read(head, objects; any number of object keys)
-- → {seconds, microseconds, revision, hash, affecting, stored or nil for each object key}
--
-- One instant: Redis' clock, the head, and the objects as of that head. Writes nothing.
local now = redis.call('TIME')
local head = redis.call('HMGET', KEYS[1], 'revision', 'hash', 'affecting')
local answer = {now[1], now[2], head[1] or '0', head[2] or '', head[3] or '0'}
for i = 1, #ARGV do
  answer[5 + i] = redis.call('HGET', KEYS[2], ARGV[i])
end
return answer
