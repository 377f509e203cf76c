-- notices(notices:channels, notices:told, notices:dead; prefix of all keys, most of each state)
-- → {deliveries in all that wait, that are dead, flat list of (id, channel, state, due at or "", event, attempts, first,
--    at, error, detail, more)}
--
-- What waits (soonest first), what was told and what is dead (newest first). Writes nothing but forgets, of the list of
-- the dead, those that are no longer kept.
local PREFIX, MOST = ARGV[1], tonumber(ARGV[2])
local rows, waiting = {}, 0

local function row(id, channel, due)
  local c = '|' .. channel
  local found = redis.call('HMGET', PREFIX .. 'notice:' .. id, 'state' .. c, 'event', 'attempts' .. c, 'first' .. c,
    'at' .. c, 'error' .. c, 'detail' .. c, 'more')
  if not found[1] or not found[2] then return false end
  local values = {id, channel, found[1], due, found[2], found[3] or '0', found[4] or '0', found[5] or '0', found[6] or '',
    found[7] or '', found[8] or '0'}
  for _, value in ipairs(values) do rows[#rows + 1] = value end
  return true
end

local function parts(member) return string.match(member, '^(.*)|([^|]*)$') end

for _, channel in ipairs(redis.call('SMEMBERS', KEYS[1])) do
  local queue = PREFIX .. 'notices:due:' .. channel
  waiting = waiting + redis.call('ZCARD', queue)
  local found = redis.call('ZRANGE', queue, 0, MOST - 1, 'WITHSCORES')
  for i = 1, #found, 2 do row(found[i], channel, found[i + 1]) end
end
for _, member in ipairs(redis.call('LRANGE', KEYS[2], 0, MOST - 1)) do
  local id, channel = parts(member)
  row(id, channel, '')
end
for _, member in ipairs(redis.call('ZREVRANGE', KEYS[3], 0, MOST - 1)) do
  local id, channel = parts(member)
  if not row(id, channel, '') then redis.call('ZREM', KEYS[3], member) end
end
return {waiting, redis.call('ZCARD', KEYS[3]), rows}
