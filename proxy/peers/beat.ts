/** Tells Redis that this proxy lives, and learns which others do. */

import type { Result } from 'ioredis';
import { REDIS } from '../contract.ts';
import type { RedisConnection } from '../redis/connection.ts';
import type { Signs } from './members.ts';

declare module 'ioredis' {
  interface RedisCommander<Context> {
    beatPeer(key: string, ...args: readonly (string | number)[]): Result<[string | null, string[]], Context>;
  }
}

/**
 * ARGV: this proxy, its signs of life so far, life of the key in ms, channel, message or '', then each that is dead with
 * the signs that it gave. → what was there of this proxy, or nil, and all that are there with the signs they gave. May be
 * sent again.
 */
const BEAT = `
local before = redis.call('ZSCORE', KEYS[1], ARGV[1])
redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
for at = 6, #ARGV, 2 do
  local signs = redis.call('ZSCORE', KEYS[1], ARGV[at])
  if signs and tonumber(signs) == tonumber(ARGV[at + 1]) then redis.call('ZREM', KEYS[1], ARGV[at]) end
end
if ARGV[5] ~= '' then redis.call('PUBLISH', ARGV[4], ARGV[5]) end
return { before, redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES') }`;

export type Beat = {
  /** `hello` is published with it. Throws SessionsUnavailable. */
  readonly beat: (dead: Signs, lifeMs: number, hello?: string) => Promise<Signs>;
  /** Publishes the message, too. Best effort. */
  readonly leave: (message: string) => void;
};

export function newBeat({ client, circuit, self }: Pick<RedisConnection, 'client' | 'circuit' | 'self'>): Beat {
  client.defineCommand('beatPeer', { numberOfKeys: 1, lua: BEAT });
  let signs = 0;
  return {
    async beat(dead, lifeMs, hello = '') {
      signs += 1;
      const about = [self, signs, lifeMs, REDIS.messages, hello, ...[...dead].flat()] as const;
      const [, there] = await circuit.run('beat', () => client.beatPeer(REDIS.peers, ...about));
      return new Map(
        Array.from({ length: there.length / 2 }, (_, at) => [there[2 * at] ?? '', Number(there[2 * at + 1])]),
      );
    },
    leave(message) {
      // No script: one that Redis does not have yet would need a second try, and the connection ends now.
      for (const sent of [client.zrem(REDIS.peers, self), client.publish(REDIS.messages, message)])
        sent.catch(() => {});
    },
  };
}
