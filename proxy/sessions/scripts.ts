/**
 * What changes a session in Redis, in Lua: each is one atomic step on the one key of a session, and may be sent again
 * when its answer was lost. Each writes before it says that there is nothing: a replica, which may not know yet, refuses.
 *
 * The key is a hash: `revision`, to be compared without reading the rest; `home`, the home's id; `record`, the session.
 * Where a session has ended it holds `ended` alone, for an hour at most: no proxy that has not read the session within that
 * time puts it back.
 */

import { ENDED } from './changes.ts';

/** What has ended is remembered no longer for being asked for. */
const WRITE_NOTHING = `redis.call('HDEL', KEYS[1], 'record')`;

/** ARGV: idle life in ms. → the record, or nil. */
export const FIND = `
local record = redis.call('HGET', KEYS[1], 'record')
if not record then ${WRITE_NOTHING} return false end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return record`;

/** ARGV: revision, home, record, idle life in ms. → 1 created, or there already by this very call; 0 taken. */
export const CREATE = `
local there = redis.call('HGET', KEYS[1], 'revision')
if there then return there == ARGV[1] and 1 or 0 end
redis.call('HSET', KEYS[1], 'revision', ARGV[1], 'home', ARGV[2], 'record', ARGV[3])
redis.call('HDEL', KEYS[1], 'ended')
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return 1`;

/**
 * ARGV: revision to replace, new revision, home, record, idle life in ms, channel, message.
 * → '' stored, or stored before by this very call; another writer's record; nil when the session has ended.
 */
export const REPLACE = `
local there = redis.call('HGET', KEYS[1], 'revision')
if not there then ${WRITE_NOTHING} return false end
redis.call('PEXPIRE', KEYS[1], ARGV[5])
if there == ARGV[2] then return '' end
if there ~= ARGV[1] then return redis.call('HGET', KEYS[1], 'record') end
redis.call('HSET', KEYS[1], 'revision', ARGV[2], 'home', ARGV[3], 'record', ARGV[4])
redis.call('PUBLISH', ARGV[6], ARGV[7])
return ''`;

/**
 * ARGV: how long its end is remembered in ms, channel, message. → the record, or nil when there was nothing to end. The
 * message ends with when the session was created, where that is known.
 */
export const END = `
if redis.call('HEXISTS', KEYS[1], 'ended') == 1 then ${WRITE_NOTHING} return false end
local record = redis.call('HGET', KEYS[1], 'record')
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'ended', '1')
redis.call('PEXPIRE', KEYS[1], ARGV[1])
local read, there = pcall(cjson.decode, record)
local created = read and type(there) == 'table' and tonumber(there.createdAt)
redis.call('PUBLISH', ARGV[2], ARGV[3] .. ' ${ENDED}' .. (created and string.format(' %.0f', created) or ''))
return record`;

/**
 * Puts a session back that a failover has lost, or set back. ARGV: revision, home, record, idle life in ms, changes,
 * created at, channel, message. → '' put back; the record that is there, when it is as late or another session's; nil
 * when the session has ended.
 */
export const RESTORE = `
if redis.call('HEXISTS', KEYS[1], 'ended') == 1 then ${WRITE_NOTHING} return false end
local record = redis.call('HGET', KEYS[1], 'record')
if record then
  redis.call('PEXPIRE', KEYS[1], ARGV[4])
  local read, there = pcall(cjson.decode, record)
  if not read or there.createdAt ~= tonumber(ARGV[6]) then return record end
  if (there.changes or 0) >= tonumber(ARGV[5]) then return record end
end
redis.call('HSET', KEYS[1], 'revision', ARGV[1], 'home', ARGV[2], 'record', ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
redis.call('PUBLISH', ARGV[7], ARGV[8])
return ''`;

/**
 * A session that is there no more has ended, from now on for good. ARGV: how long that is remembered in ms, 1 where a proxy
 * knows the session still. → what is left of its idle life in ms and its record; or -1 and `expired` where it had idled
 * out, `ended` where it had ended before, `known` where it is to come back.
 */
export const CLAIM = `
local record = redis.call('HGET', KEYS[1], 'record')
if record then return { redis.call('PTTL', KEYS[1]), record } end
if ARGV[2] == '1' and redis.call('HEXISTS', KEYS[1], 'ended') == 0 then return { -1, 'known' } end
local before = redis.call('HSET', KEYS[1], 'ended', '1') == 0
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return { -1, before and 'ended' or 'expired' }`;

/** ARGV: proxy, life in ms, 0 to give it up. → 1 when it is that proxy's now. May be sent again. */
export const LEAD = `
local there = redis.call('GET', KEYS[1])
if there and there ~= ARGV[1] then return 0 end
if ARGV[2] == '0' then redis.call('DEL', KEYS[1]) return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1`;
