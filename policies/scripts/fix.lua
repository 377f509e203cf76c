-- fix(evidence:<case>; field, packed thresholds)
-- → the packed thresholds that hold: these, or those that another worker fixed first
redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[2])
redis.call('EXPIRE', KEYS[1], 604800)
return redis.call('HGET', KEYS[1], ARGV[1])
