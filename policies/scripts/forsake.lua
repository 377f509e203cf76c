-- forsake(notices:channels; prefix of all keys, channel, why, most)
-- → {how many were dropped, how many are left}
--
-- Drops what waits for a channel that is there no more. Writes notice:<id> and notices:due:<channel>.
local PREFIX, CHANNEL = ARGV[1], ARGV[2]
local now = redis.call('TIME')
local milliseconds = string.format('%d', now[1] * 1000 + math.floor(now[2] / 1000))
local queue = PREFIX .. 'notices:due:' .. CHANNEL
local ids = redis.call('ZRANGE', queue, 0, tonumber(ARGV[4]) - 1)
for _, id in ipairs(ids) do
  redis.call('ZREM', queue, id)
  local key = PREFIX .. 'notice:' .. id
  if redis.call('EXISTS', key) == 1 then
    redis.call('HSET', key, 'state|' .. CHANNEL, 'dropped', 'error|' .. CHANNEL, ARGV[3], 'at|' .. CHANNEL, milliseconds)
  end
end
local left = redis.call('ZCARD', queue)
if left == 0 then redis.call('SREM', KEYS[1], CHANNEL) end
return {#ids, left}
