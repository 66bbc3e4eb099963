/** The sessions that live in this task: its memory of each, which dies with the task. */

import type { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import type { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';

/** What the tools keep of a session in plain memory. */
export type SessionMemory = {
  counter: number;
  /** The URIs that the client wants to hear of. */
  readonly subscriptions: Set<string>;
};

/** One session here: its own MCP server, as the SDK wants it, and what that keeps in memory. */
export type LiveSession = {
  readonly server: McpServer;
  readonly transport: StreamableHTTPServerTransport;
  readonly memory: SessionMemory;
};

export type LiveSessions = {
  add(id: string, session: LiveSession): void;
  /** The session, and its idle life held off until `release` is called: by every request, a listening one included. */
  use(id: string): { readonly session: LiveSession; readonly release: () => void } | undefined;
  remove(id: string): void;
  all(): Iterable<LiveSession>;
  readonly size: number;
};

/** Closes a session that had no request for `ttlSeconds`, so that clients that never say goodbye cost no memory. */
export function liveSessions(ttlSeconds: number): LiveSessions {
  const entries = new Map<string, { session: LiveSession; running: number; idle: NodeJS.Timeout | undefined }>();

  const wait = (id: string, session: LiveSession) =>
    setTimeout(() => {
      entries.delete(id);
      void session.server.close();
    }, ttlSeconds * 1000).unref();

  return {
    add(id, session) {
      entries.set(id, { session, running: 0, idle: wait(id, session) });
    },
    use(id) {
      const entry = entries.get(id);
      if (!entry) return undefined;
      clearTimeout(entry.idle);
      entry.running += 1;
      const release = () => {
        entry.running -= 1;
        if (entry.running === 0 && entries.get(id) === entry) entry.idle = wait(id, entry.session);
      };
      return { session: entry.session, release };
    },
    remove(id) {
      clearTimeout(entries.get(id)?.idle);
      entries.delete(id);
    },
    all: () => [...entries.values()].map(({ session }) => session),
    get size() {
      return entries.size;
    },
  };
}
