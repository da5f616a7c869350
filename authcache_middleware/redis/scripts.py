"""What has to happen in one step on the server. Each script touches one key, so that a cluster runs it anywhere."""

from __future__ import annotations

from typing import Final

__all__ = ["CLAIM", "COMPARE_AND_DELETE", "COMPARE_AND_SET", "MAX_REVOKED_IDS", "REVOKE"]

MAX_REVOKED_IDS: Final = 256

# The suffix is the server's time: a copy of this command that the network delivers late, after a DEL, must not bring
# back the lease that its sender holds, whose fill would then store what was read before the DEL.
CLAIM: Final = """\
local standing = redis.call('GET', KEYS[1])
if standing then return standing end
local time = redis.call('TIME')
local lease = ARGV[1] .. ':' .. time[1] .. '.' .. time[2]
redis.call('SET', KEYS[1], lease, 'PX', ARGV[2])
return lease"""

COMPARE_AND_SET: Final = """\
if redis.call('GET', KEYS[1]) == ARGV[1] then
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
  return 1
end
return 0"""

COMPARE_AND_DELETE: Final = """\
if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('DEL', KEYS[1])
end
return 0"""

# ARGV: the id to revoke or 'before', then lifetime and leeway in seconds. The time is the server's, rounded up: a
# cutoff may refuse a login made within the leeway, it never passes an older token. A session ('s:') is never folded
# into the cutoff: later tokens of the same session would slip.
REVOKE: Final = f"""\
local time = redis.call('TIME')
local now = tonumber(time[1])
if tonumber(time[2]) > 0 then now = now + 1 end
local lifetime, leeway = tonumber(ARGV[2]), tonumber(ARGV[3])
local before, ids = nil, {{}}
local held = redis.call('HGETALL', KEYS[1])
for i = 1, #held, 2 do
  local mark, till = held[i], tonumber(held[i + 1])
  if mark == 'before' then before = till
  elseif till and till <= now then redis.call('HDEL', KEYS[1], mark)
  else ids[#ids + 1] = mark end
end
local cutoff = nil
if ARGV[1] == 'before' then
  cutoff = now + leeway
else
  local known = tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or '0')
  if known == 0 then ids[#ids + 1] = ARGV[1] end
  redis.call('HSET', KEYS[1], ARGV[1], string.format('%d', math.max(known, now + lifetime)))
  if #ids > {MAX_REVOKED_IDS} then
    cutoff = now + leeway
    for _, mark in ipairs(ids) do
      if mark:sub(1, 2) ~= 's:' then redis.call('HDEL', KEYS[1], mark) end
    end
  end
end
if cutoff and cutoff > (before or 0) then
  redis.call('HSET', KEYS[1], 'before', string.format('%d', cutoff))
end
local ttl = redis.call('TTL', KEYS[1])
if ttl < lifetime then redis.call('EXPIRE', KEYS[1], lifetime) end
return 1"""
