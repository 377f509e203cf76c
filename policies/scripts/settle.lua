-- settle(notices:channels, notices:told, notices:dead;
--        prefix of all keys, id, channel, token, "told" | "failed" | "dead" | "dropped", what was found,
--        thousandths of the backoff to wait)
-- → its state from now on ("due": it is tried again), or "lost" where it was settled, or claimed by another, meanwhile
--
-- Writes notice:<id>, notices:due:<channel>, and the lists of what was told and of what is dead.
local PREFIX, ID, CHANNEL, OUTCOME = ARGV[1], ARGV[2], ARGV[3], ARGV[5]
local DAY, MOST_WAIT, TOLD_KEPT, DEAD_KEPT = 86400000, 600000, 1000, 1000  -- milliseconds; as in outbox.py
local now = redis.call('TIME')
local milliseconds = now[1] * 1000 + math.floor(now[2] / 1000)
local key, queue = PREFIX .. 'notice:' .. ID, PREFIX .. 'notices:due:' .. CHANNEL
local held = redis.call('HMGET', key, 'state|' .. CHANNEL, 'token|' .. CHANNEL, 'first|' .. CHANNEL, 'attempts|' .. CHANNEL)
if held[1] ~= 'due' then return 'lost' end
-- What was told is told, whoever else was trying.
if OUTCOME ~= 'told' and held[2] ~= ARGV[4] then return 'lost' end

local state = OUTCOME
if OUTCOME == 'failed' then
  local wait = math.min(MOST_WAIT, 1000 * 2 ^ (tonumber(held[4]) - 1))
  wait = math.floor(wait * tonumber(ARGV[7]) / 1000)
  state = milliseconds + wait - tonumber(held[3]) >= DAY and 'dead' or 'due'
  if state == 'due' then redis.call('ZADD', queue, milliseconds + wait, ID) end
end
redis.call('HSET', key, 'state|' .. CHANNEL, state, 'at|' .. CHANNEL, string.format('%d', milliseconds),
  (OUTCOME == 'told' and 'detail|' or 'error|') .. CHANNEL, ARGV[6])
if state ~= 'due' then
  redis.call('ZREM', queue, ID)
  if redis.call('EXISTS', queue) == 0 then redis.call('SREM', KEYS[1], CHANNEL) end
end
if state == 'told' then
  redis.call('LPUSH', KEYS[2], ID .. '|' .. CHANNEL)
  redis.call('LTRIM', KEYS[2], 0, TOLD_KEPT - 1)
elseif state == 'dead' then
  redis.call('ZADD', KEYS[3], milliseconds, ID .. '|' .. CHANNEL)
  redis.call('ZREMRANGEBYRANK', KEYS[3], 0, -DEAD_KEPT - 1)
end
return state
