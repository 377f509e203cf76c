-- hold(lease:<name>; token, milliseconds, "take" or "renew")
-- → 1 where `token` holds the lease now, for so long; 0 where another does, or (renew) it ran out
local held = redis.call('GET', KEYS[1])
if held == ARGV[1] then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  return 1
end
if not held and ARGV[3] == 'take' then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
  return 1
end
return 0
