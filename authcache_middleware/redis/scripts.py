"""What has to happen in one step on the server. Each script touches one key, so that a cluster runs it anywhere."""

from __future__ import annotations

from typing import Final

from authcache_middleware.tokens.verifier import MAX_LEEWAY, USUAL_MAX_LIFETIME
from authcache_middleware.users.session import SESSION_SIGN

__all__ = [
    "BEGIN_SESSION",
    "CLAIM",
    "COMPARE_AND_DELETE",
    "COMPARE_AND_SET",
    "LEAST_SESSION_MARK",
    "LOGIN_MARGIN",
    "MAX_REVOKED_IDS",
    "REVOKE",
]

MAX_REVOKED_IDS: Final = 256
"""The most single tokens, and the most sessions, that are revoked of one user."""
_MARGIN: Final = int(2 * MAX_LEEWAY)
LEAST_SESSION_MARK: Final = int(USUAL_MAX_LIFETIME) + _MARGIN
"""The least seconds for which it is remembered that a session was ended."""
LOGIN_MARGIN: Final = int(MAX_LEEWAY)
"""Seconds before a login in which its token may have been issued: no login sets a cutoff that reaches so far."""

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

# What is revoked of a user, and his sessions: one hash, read at the beginning and kept within its bounds at the end.
# Time is the server's, rounded up: a cutoff may refuse a login made within the leeway, it never passes an older token.
#
# A mark is "<until_s> <cutoff_s>": when it may be forgotten, and which cutoff says as much of what was issued until it
# was written. Past the most of a kind, those with the earliest are folded into it: nobody is logged out by a later one
# than must be. A mark that other hands wrote, without one, is given the latest that it can need, once and for all. A
# login that would have to set a cutoff which reaches it is refused instead, before anything is written.
#
# A session that cannot be read counts as the oldest, with no end: it is nobody's to use, and the first to go.
_OPEN: Final = f"""\
local time = redis.call('TIME')
local now = tonumber(time[1])
local now_ms = now * 1000 + math.floor(tonumber(time[2]) / 1000)
if tonumber(time[2]) > 0 then now = now + 1 end
local before, revoked, cutoffs, written, sessions = nil, {{}}, {{}}, {{}}, {{}}
local function put(mark)
  redis.call('HSET', KEYS[1], mark, string.format('%.0f %.0f', revoked[mark], cutoffs[mark]))
end
local held = redis.call('HGETALL', KEYS[1])
for i = 1, #held, 2 do
  local mark, value = held[i], held[i + 1]
  if mark == 'before' then
    before = tonumber(value)
  elseif mark:sub(1, 1) == '{SESSION_SIGN}' then
    local created, ends = value:match('^(%d+) (%d+) ')
    created, ends = tonumber(created or 0), ends and tonumber(ends) or math.huge
    if ends <= now then redis.call('HDEL', KEYS[1], mark)
    else sessions[mark:sub(2)] = {{created = created, ends = ends}} end
  else
    local till, cutoff = value:match('^(%d+) ?(%d*)$')
    till, cutoff = tonumber(till), tonumber(cutoff)
    if till and till <= now then redis.call('HDEL', KEYS[1], mark)
    else
      revoked[mark] = till or now + {LEAST_SESSION_MARK}
      cutoffs[mark] = cutoff
      if not cutoff then
        local ended = mark:sub(1, 2) == 's:' and revoked[mark] - {LEAST_SESSION_MARK} or now
        cutoffs[mark] = math.max(math.min(ended, now), 0) + {LOGIN_MARGIN}
        if till then put(mark) end
      end
    end
  end
end
local function revoke(mark, lifetime, leeway)
  if mark:sub(1, 2) == 's:' then lifetime = math.max(lifetime, {LEAST_SESSION_MARK}) end
  revoked[mark] = math.max(revoked[mark] or 0, now + lifetime)
  cutoffs[mark] = math.max(cutoffs[mark] or 0, now + leeway)
  written[#written + 1] = mark
  sessions[mark] = nil
end
local function excess()
  local tokens, ended, folded, cutoff = {{}}, {{}}, {{}}, 0
  for mark in pairs(revoked) do
    local kind = mark:sub(1, 2) == 's:' and ended or tokens
    kind[#kind + 1] = mark
  end
  for _, kind in ipairs({{tokens, ended}}) do
    if #kind > {MAX_REVOKED_IDS} then
      table.sort(kind, function(one, other)
        if cutoffs[one] == cutoffs[other] then return one < other end
        return cutoffs[one] < cutoffs[other]
      end)
      for i = 1, #kind - {MAX_REVOKED_IDS} do
        folded[#folded + 1] = kind[i]
        cutoff = math.max(cutoff, math.min(cutoffs[kind[i]], now + {_MARGIN}))
      end
    end
  end
  return folded, cutoff
end
local function close(cutoff, lifetime)
  for _, mark in ipairs(written) do
    put(mark)
    redis.call('HDEL', KEYS[1], '{SESSION_SIGN}' .. mark)
  end
  local folded, reached = excess()
  for _, mark in ipairs(folded) do redis.call('HDEL', KEYS[1], mark) end
  cutoff = math.max(cutoff, reached)
  if cutoff > (before or 0) then redis.call('HSET', KEYS[1], 'before', string.format('%.0f', cutoff)) end
  local longest = lifetime
  for mark, till in pairs(revoked) do longest = math.max(longest, till - now) end
  for mark, session in pairs(sessions) do
    if session.ends < math.huge then longest = math.max(longest, session.ends - now) end
  end
  if redis.call('TTL', KEYS[1]) < longest then redis.call('EXPIRE', KEYS[1], string.format('%.0f', longest)) end
end
"""

# ARGV: the mark to revoke or 'before', then lifetime and leeway in seconds. With a session ends the one of a token
# that is known by the same name, and with everything every session.
REVOKE: Final = f"""\
{_OPEN}
local mark, lifetime, leeway = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local cutoff = 0
if mark == 'before' then
  cutoff = now + leeway
  local all = {{}}
  for each in pairs(sessions) do all[#all + 1] = each end
  for _, each in ipairs(all) do revoke(each, lifetime, leeway) end
else
  revoke(mark, lifetime, leeway)
  local token = 't:' .. mark:sub(3)
  if mark:sub(1, 2) == 's:' and sessions[token] then revoke(token, lifetime, leeway) end
end
close(cutoff, lifetime)
return 1"""

# ARGV: the mark, when it ends, its details, the most sessions of a user, whether the oldest makes room, then lifetime
# and leeway of the marks of those that are ended; one that is a token ends with it. What was ended does not begin
# again, nor get shorter: a copy of this command may be delivered late.
BEGIN_SESSION: Final = f"""\
{_OPEN}
local mark, ends, details = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local most, lifetime, leeway = tonumber(ARGV[4]), tonumber(ARGV[6]), tonumber(ARGV[7])
if revoked[mark] then return {{'ended'}} end
if now <= (before or 0) then return {{'too_soon', before - now + 1}} end
local standing, ended = sessions[mark], {{}}
if standing and standing.ends < math.huge then
  standing.ends = math.max(standing.ends, ends)
else
  sessions[mark] = nil
  local others = {{}}
  for each in pairs(sessions) do others[#others + 1] = each end
  if #others >= most then
    if ARGV[5] ~= '1' then return {{'max_sessions'}} end
    table.sort(others, function(one, other)
      local first, second = sessions[one].created, sessions[other].created
      if first == second then return one < other end
      return first < second
    end)
    for i = 1, #others - most + 1 do
      local life = lifetime
      if others[i]:sub(1, 2) == 't:' then life = math.min(life, sessions[others[i]].ends - now + {_MARGIN}) end
      revoke(others[i], life, leeway)
      ended[i] = others[i]
    end
  end
  standing = {{created = now_ms, ends = ends}}
  sessions[mark] = standing
end
local _, reached = excess()
if reached > (before or 0) and now <= reached + {LOGIN_MARGIN} then
  return {{'too_soon', reached + {LOGIN_MARGIN} - now + 1}}
end
local times = string.format('%.0f %.0f ', standing.created, standing.ends)
redis.call('HSET', KEYS[1], '{SESSION_SIGN}' .. mark, times .. details)
close(0, 0)
return {{'begun', standing.created, standing.ends, ended}}"""
