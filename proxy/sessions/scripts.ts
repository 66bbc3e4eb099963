/**
 * What changes a session in Redis, in Lua: each is one atomic step on the one key of a session, and may be sent again
 * when its answer was lost. Each writes before it says that there is nothing: a replica, which may not know yet, refuses.
 *
 * The key is a hash: `revision`, to be compared without reading the rest; `home`, the home's id; `record`, the session.
 * Where a session has ended it holds `ended` alone, for an idle life: no proxy knows it longer than that, so what is
 * missing altogether has been lost.
 */

import { ENDED } from './changes.ts';

/** ARGV: idle life in ms. → the record, or nil. */
export const FIND = `
if redis.call('PEXPIRE', KEYS[1], ARGV[1]) == 0 then return false end
return redis.call('HGET', KEYS[1], 'record')`;

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
if redis.call('PEXPIRE', KEYS[1], ARGV[5]) == 0 then return false end
local there = redis.call('HGET', KEYS[1], 'revision')
if there == ARGV[2] then return '' end
if there ~= ARGV[1] then return redis.call('HGET', KEYS[1], 'record') end
redis.call('HSET', KEYS[1], 'revision', ARGV[2], 'home', ARGV[3], 'record', ARGV[4])
redis.call('PUBLISH', ARGV[6], ARGV[7])
return ''`;

/**
 * ARGV: idle life in ms, channel, message. → the record, or nil when there was nothing to end. The message ends with
 * when the session was created, where that is known.
 */
export const END = `
redis.call('PEXPIRE', KEYS[1], ARGV[1])
if redis.call('HEXISTS', KEYS[1], 'ended') == 1 then return false end
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
if redis.call('PEXPIRE', KEYS[1], ARGV[4]) == 1 then
  local record = redis.call('HGET', KEYS[1], 'record')
  if not record then return false end
  local read, there = pcall(cjson.decode, record)
  if not read or there.createdAt ~= tonumber(ARGV[6]) then return record end
  if (there.changes or 0) >= tonumber(ARGV[5]) then return record end
end
redis.call('HSET', KEYS[1], 'revision', ARGV[1], 'home', ARGV[2], 'record', ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
redis.call('PUBLISH', ARGV[7], ARGV[8])
return ''`;
