/** Connects the sample server's tool state to Redis. */

import { Redis } from 'ioredis';
import { redisState, type SessionState, type StateOptions } from '../state.ts';

/**
 * State in the Redis at `url`, and a way to let it go. A Redis that cannot be reached costs a use at most two seconds,
 * and heals by itself.
 */
export function connectState(url: string, options: StateOptions): { readonly state: SessionState; close(): void } {
  const redis = new Redis(url, {
    maxRetriesPerRequest: 1,
    connectTimeout: 1000,
    commandTimeout: 2000,
    // A primary that became a replica in place: its name leads to the new one, and what it refused is sent there.
    reconnectOnError: (error) => (error.message.includes('READONLY') ? 2 : false),
  });
  let said = '';
  // Once for each trouble, not for each of its retries.
  redis.on('error', (error: Error) => {
    if (error.message !== said) process.stderr.write(`Redis: ${error.message}\n`);
    said = error.message;
  });
  redis.on('ready', () => {
    said = '';
  });
  return { state: redisState(redis, options), close: () => redis.disconnect() };
}
