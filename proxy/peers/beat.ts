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

export type Heard = {
  readonly signs: Signs;
  /** Redis does not have this proxy's last sign: it has lost that, and more maybe, or was set back to an older state. */
  readonly setBack: boolean;
};

export type Beat = {
  /** `hello` is published with it. Undefined where Redis refused it, as one that is full. Throws SessionsUnavailable. */
  readonly beat: (dead: Signs, hello?: string) => Promise<Heard | undefined>;
  /** Publishes the message, too. Best effort. */
  readonly leave: (message: string) => void;
};

/** `lifeMs`: after so many milliseconds without a sign a proxy is dead. */
export function newBeat({ client, circuit, self }: RedisConnection, lifeMs: number): Beat {
  client.defineCommand('beatPeer', { numberOfKeys: 1, lua: BEAT });
  let last = 0;
  let heard = { signs: 0, at: 0 };
  const beat: Beat['beat'] = async (dead, hello = '') => {
    const signs = (last += 1);
    const at = performance.now();
    const about = [self, signs, lifeMs, REDIS.messages, hello, ...[...dead].flat()] as const;
    // An error here says nothing of the sessions themselves: the circuit need not know.
    const answer = await circuit.run('beat', () => client.beatPeer(REDIS.peers, ...about).catch(() => undefined));
    if (answer === undefined) return undefined;
    const [before, there] = answer;
    // Who was silent for a life is forgotten by others.
    const due = heard.signs > 0 && at - heard.at < lifeMs;
    const setBack = due && (before === null || Number(before) < heard.signs);
    heard = { signs, at };
    const pairs = Array.from(
      { length: there.length / 2 },
      (_, i) => [there[2 * i] ?? '', Number(there[2 * i + 1])] as const,
    );
    return { signs: new Map(pairs), setBack };
  };
  return {
    beat,
    leave(message) {
      // No script: one that Redis does not have yet would need a second try, and the connection ends now.
      for (const sent of [client.zrem(REDIS.peers, self), client.publish(REDIS.messages, message)])
        sent.catch(() => {});
    },
  };
}
