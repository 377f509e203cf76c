-- seen(given; minutes) → {Redis' clock in seconds, {minute, {field, number…}, minute, {…}…}}
-- What given.lua wrote in this minute and the ones before, the oldest first.
local now = tonumber(redis.call('TIME')[1])
local last, found = math.floor(now / 60), {}
for minute = last - tonumber(ARGV[1]) + 1, last do
  table.insert(found, minute)
  table.insert(found, redis.call('HGETALL', KEYS[1] .. ':' .. minute))
end
return {now, found}
