/** The server of a proxy that stands alone: what is for the MCP endpoint goes through its door. */
import { createServer } from 'node:http';
import type { Server } from 'node:http';
import type { Door } from './door.ts';

/** Milliseconds. `keepAlive` is above an ALB's longest usual idle timeout, else the ALB meets a socket that just closed. */
export type Deadlines = { readonly headers: number; readonly request: number; readonly keepAlive: number };
export const DEADLINES: Deadlines = { headers: 20_000, request: 60_000, keepAlive: 320_000 };
const MAX_HEADER_BYTES = 64 * 1024;

/**
 * A slow or half-sent request is dropped by the deadlines, malformed framing by Node's strict parser. `path` is the MCP
 * endpoint's. No framework in between: Express would add a quarter to the cost of a request.
 */
export function createDoorServer(door: Door, path: string, deadlines: Deadlines = DEADLINES): Server {
  return createServer(
    {
      maxHeaderSize: MAX_HEADER_BYTES,
      headersTimeout: deadlines.headers,
      requestTimeout: deadlines.request,
      keepAliveTimeout: deadlines.keepAlive,
      connectionsCheckingInterval: Math.min(deadlines.headers / 2, 5000),
    },
    (request, response) => {
      if (!door.admits(request, response)) return;
      const target = targetOf(request.url ?? '');
      const [asked] = target?.split('?', 1) ?? [];
      if (target !== undefined && (asked === path || asked === `${path}/`)) door.enter(request, response, target);
      else door.turnAway(request, response, 404);
    },
  );
}

/** Path and query: a target in absolute form (RFC 9112, section 3.2.2) loses its authority. Undefined for any other. */
function targetOf(url: string): string | undefined {
  if (url.startsWith('/')) return url;
  if (!/^https?:\/\/[^/?#]/i.test(url) || !URL.canParse(url)) return undefined;
  const { pathname, search } = new URL(url);
  return pathname + search;
}
