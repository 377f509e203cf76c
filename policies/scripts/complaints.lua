-- complaints(counts; for each: its window in milliseconds, how many complained, who) → how many did within the window
--
-- KEYS      complaints:<policy>:<release> of each count
-- May be repeated: who complained is in the set once, with the time of the last complaint.

-- Beyond so many people nobody's policy asks for more; the set must stay small.
local MOST = 10000

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local at, found = 1, {}
for i, key in ipairs(KEYS) do
  local window, people = tonumber(ARGV[at]), tonumber(ARGV[at + 1])
  for j = at + 2, at + 1 + people do
    redis.call('ZADD', key, string.format('%.0f', now), ARGV[j])
  end
  redis.call('ZREMRANGEBYSCORE', key, '-inf', string.format('%.0f', now - window))
  redis.call('ZREMRANGEBYRANK', key, 0, -(MOST + 1))
  redis.call('PEXPIRE', key, string.format('%.0f', window))
  found[i] = redis.call('ZCARD', key)
  at = at + 2 + people
end
return found
