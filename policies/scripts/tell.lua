-- tell(notices:cursor, notices:channels, notices:dead;
--      prefix of all keys,
--      revision, hash,            the cursor that the caller read; "" for none yet, "-" to leave it where it is
--      new revision, new hash, new time,
--      n, n * (event id, what it counts with for the rate, event, k, k * channel))
-- → "told", or "moved" where another was faster: then nothing was done
--
-- Moves the cursor and adds the deliveries of what it passed, in one: so each event is added once, and none is lost.
-- An event that is known already is not added again. Writes notice:<id>, notices:due:<channel>, notices:rate:<rate>.
local PREFIX = ARGV[1]
local HOUR, DAY, KEPT = 3600000, 86400, 30 * 86400  -- milliseconds; seconds; seconds
local FREE, WAITING_KEPT, DEAD_KEPT = 10, 5000, 1000  -- as in outbox.py
local now = redis.call('TIME')
local milliseconds = now[1] * 1000 + math.floor(now[2] / 1000)

if ARGV[2] ~= '-' then
  local cursor = redis.call('HMGET', KEYS[1], 'revision', 'hash')
  if (cursor[1] or '') ~= ARGV[2] or (cursor[2] or '') ~= ARGV[3] then return 'moved' end
  redis.call('HSET', KEYS[1], 'revision', ARGV[4], 'hash', ARGV[5], 'time', ARGV[6])
end

-- How many of this kind about this object there were in the hour, and which one tells of those beyond the free ones.
local function count(rate)
  local key = PREFIX .. 'notices:rate:' .. rate
  local since = tonumber(redis.call('HGET', key, 'since') or '0')
  if math.abs(milliseconds - since) >= HOUR then
    redis.call('DEL', key)
    redis.call('HSET', key, 'since', string.format('%d', milliseconds))
    redis.call('PEXPIRE', key, HOUR)
    since = milliseconds
  end
  return redis.call('HINCRBY', key, 'n', 1), since + HOUR, key
end

local function add(id, channel, due)
  local key, queue = PREFIX .. 'notice:' .. id, PREFIX .. 'notices:due:' .. channel
  local full = redis.call('ZCARD', queue) >= WAITING_KEPT
  redis.call('HSET', key, 'state|' .. channel, full and 'dead' or 'due', 'first|' .. channel, string.format('%d', due),
    'at|' .. channel, string.format('%d', milliseconds), 'attempts|' .. channel, 0)
  if full then
    redis.call('HSET', key, 'error|' .. channel, 'too many were waiting for this channel')
    redis.call('ZADD', KEYS[3], milliseconds, id .. '|' .. channel)
    redis.call('ZREMRANGEBYRANK', KEYS[3], 0, -DEAD_KEPT - 1)
  else
    redis.call('ZADD', queue, due, id)
    redis.call('SADD', KEYS[2], channel)
  end
end

local at = 8
for _ = 1, tonumber(ARGV[7]) do
  local id, rate, event, channels = ARGV[at], ARGV[at + 1], ARGV[at + 2], tonumber(ARGV[at + 3])
  local key = PREFIX .. 'notice:' .. id
  if redis.call('EXISTS', key) == 0 then
    local n, ends, counter = count(rate)
    if n > FREE + 1 then
      local leader = redis.call('HGET', counter, 'leader')
      redis.call('HINCRBY', PREFIX .. 'notice:' .. leader, 'more', 1)
      redis.call('HSET', key, 'merged', leader)
      redis.call('EXPIRE', key, DAY)
    else
      local due = milliseconds
      if n > FREE then
        redis.call('HSET', counter, 'leader', id)
        due = ends
      end
      redis.call('HSET', key, 'event', event)
      redis.call('EXPIRE', key, KEPT)
      for i = 1, channels do add(id, ARGV[at + 3 + i], due) end
    end
  end
  at = at + 4 + channels
end
return 'told'
