-- given(given; field, number, field, number…) → Redis' clock, seconds
-- What providers of decisions gave in this second, of all workers: `given:<minute>`, field
-- `<second of it>|<flag>|<route>|<variant>|<how>`. The only writer of it; read by seen.lua. Kept for a quarter of an hour.
local now = tonumber(redis.call('TIME')[1])
local key = KEYS[1] .. ':' .. math.floor(now / 60)
for i = 1, #ARGV, 2 do
  redis.call('HINCRBY', key, (now % 60) .. '|' .. ARGV[i], ARGV[i + 1])
end
redis.call('EXPIRE', key, 900)
return now
