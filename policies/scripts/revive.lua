-- revive(notices:channels, notices:dead; prefix of all keys, "due" | "dropped", n, n * (id, channel))
-- → how many were dead, and are what was asked for now
--
-- A dead delivery is due again, as if it had never been tried, or is dropped for good. Writes notice:<id> and
-- notices:due:<channel>.
local PREFIX, STATE = ARGV[1], ARGV[2]
local now = redis.call('TIME')
local milliseconds = string.format('%d', now[1] * 1000 + math.floor(now[2] / 1000))
local done = 0
for i = 4, 2 + 2 * tonumber(ARGV[3]), 2 do
  local id, channel = ARGV[i], ARGV[i + 1]
  local key = PREFIX .. 'notice:' .. id
  redis.call('ZREM', KEYS[2], id .. '|' .. channel)
  if redis.call('HGET', key, 'state|' .. channel) == 'dead' then
    done = done + 1
    redis.call('HSET', key, 'state|' .. channel, STATE, 'at|' .. channel, milliseconds)
    if STATE == 'due' then
      redis.call('HSET', key, 'first|' .. channel, milliseconds, 'attempts|' .. channel, 0)
      redis.call('ZADD', PREFIX .. 'notices:due:' .. channel, milliseconds, id)
      redis.call('SADD', KEYS[1], channel)
    end
  end
end
return done
