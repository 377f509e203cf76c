-- take(tracks; most)
-- → up to `most` tracks, oldest first, taken away
--
-- At most one worker gets each. No consumer group: after a fail-over to another history there would be none.
local rows = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', ARGV[1])
local taken = {}
local ids = {}
for at, row in ipairs(rows) do
  ids[at] = row[1]
  taken[at] = row[2][2]
end
if #ids > 0 then
  redis.call('XDEL', KEYS[1], unpack(ids))
end
return taken
