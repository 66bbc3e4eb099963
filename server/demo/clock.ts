/** The resource `demo://clock`: it changes by itself, and tells the sessions that subscribed. */

import type { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { SubscribeRequestSchema, UnsubscribeRequestSchema } from '@modelcontextprotocol/sdk/types.js';
import type { LiveSession, SessionMemory } from './sessions.ts';

const CLOCK_URI = 'demo://clock';

/** One clock for the task. */
export type Clock = {
  /** The time of the last change, in milliseconds since 1970. */
  readonly changedAt: number;
  /** Changes the clock now, and resolves when every subscribed session here has been told. */
  touch(): Promise<void>;
  stop(): void;
};

/** A clock that changes every `everyMs` milliseconds (0: only when touched) and tells those of `sessions` that subscribed. */
export function startClock(everyMs: number, sessions: () => Iterable<LiveSession>): Clock {
  let changedAt = Date.now();
  const touch = async () => {
    changedAt = Date.now();
    const subscribed = [...sessions()].filter(({ memory }) => memory.subscriptions.has(CLOCK_URI));
    // A session that ends meanwhile needs no news.
    await Promise.allSettled(subscribed.map(({ server }) => server.server.sendResourceUpdated({ uri: CLOCK_URI })));
  };
  const timer = everyMs > 0 ? setInterval(() => void touch(), everyMs).unref() : undefined;
  return {
    get changedAt() {
      return changedAt;
    },
    touch,
    stop: () => clearInterval(timer),
  };
}

/** Registers the resource on one session's server, with subscribing. The server needs `resources: { subscribe: true }`. */
export function offerClock(server: McpServer, clock: Clock, memory: SessionMemory, taskId: string): void {
  const description = 'The time of its last change, and the task whose clock it is';
  server.registerResource('clock', CLOCK_URI, { description, mimeType: 'application/json' }, (uri) => {
    const text = JSON.stringify({ taskId, changedAt: new Date(clock.changedAt).toISOString() });
    return { contents: [{ uri: uri.href, mimeType: 'application/json', text }] };
  });
  server.server.setRequestHandler(SubscribeRequestSchema, ({ params }) => {
    memory.subscriptions.add(params.uri);
    return {};
  });
  server.server.setRequestHandler(UnsubscribeRequestSchema, ({ params }) => {
    memory.subscriptions.delete(params.uri);
    return {};
  });
}
