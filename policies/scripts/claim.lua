-- claim(notices:channels; prefix of all keys, token, n, n * (channel, how many, lease in milliseconds))
-- → {channels that have deliveries waiting, flat list of (id, channel, event, attempts, more)}
--
-- Hands out what is due. It is due again when the lease is over, unless settle.lua was called by then: whoever claimed
-- it may have died. Writes notices:due:<channel>, and attempts and token in notice:<id>.
local PREFIX = ARGV[1]
local now = redis.call('TIME')
local milliseconds = now[1] * 1000 + math.floor(now[2] / 1000)
local rows, at = {}, 4
for _ = 1, tonumber(ARGV[3]) do
  local channel, most, lease = ARGV[at], tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  local queue = PREFIX .. 'notices:due:' .. channel
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', queue, '-inf', milliseconds, 'LIMIT', 0, most)) do
    local key = PREFIX .. 'notice:' .. id
    local event = redis.call('HGET', key, 'event')
    if event then
      redis.call('ZADD', queue, milliseconds + lease, id)
      redis.call('HSET', key, 'token|' .. channel, ARGV[2])
      local attempts = redis.call('HINCRBY', key, 'attempts|' .. channel, 1)
      local more = redis.call('HGET', key, 'more') or '0'
      for _, value in ipairs({id, channel, event, attempts, more}) do rows[#rows + 1] = value end
    else
      redis.call('ZREM', queue, id)
    end
  end
  if redis.call('EXISTS', queue) == 0 then redis.call('SREM', KEYS[1], channel) end
  at = at + 3
end
return {redis.call('SMEMBERS', KEYS[1]), rows}
