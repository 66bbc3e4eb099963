/** The server of a proxy that stands alone: the MCP endpoint goes through its door, everything else past it. */
import { createServer } from 'node:http';
import type { IncomingMessage, Server } from 'node:http';
import { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { admit } from './admit.ts';
import type { AdmitRules } from './admit.ts';
import { asError } from './as-error.ts';
import { isCoded } from './body.ts';
import { CODE } from './contract.ts';
import type { Telemetry } from './events.ts';
import { keepInOrder } from './in-order.ts';
import { recordRefusal, refusalOf } from './door.ts';
import type { Door } from './door.ts';
import type { Passthrough } from './passthrough.ts';
import { refuseUpgrade } from './upgrades.ts';

/** Milliseconds. `body`: of a request to the MCP endpoint that names no session. */
export type Deadlines = { readonly headers: number; readonly request: number; readonly body: number };
export const DEADLINES: Deadlines = { headers: 20_000, request: 60_000, body: 20_000 };
const MAX_HEADER_BYTES = 64 * 1024;

export type Ways = {
  readonly rules: AdmitRules;
  readonly door: Door;
  /** Takes what is not the MCP endpoint's; undefined: it is not found. */
  readonly elsewhere: Passthrough | undefined;
  readonly telemetry: Telemetry;
  /** How long an idle connection is kept: a load balancer that keeps it longer meets one that was just closed. */
  readonly keepAliveSeconds: number;
};

/**
 * A slow or half-sent request is dropped by the deadlines, malformed framing by Node's strict parser. No framework in
 * between: Express would add a quarter to the cost of a request.
 */
export function createDoorServer(ways: Ways, deadlines: Deadlines = DEADLINES): Server {
  const { rules, door, elsewhere, keepAliveSeconds } = ways;
  const server = createServer(
    {
      maxHeaderSize: MAX_HEADER_BYTES,
      headersTimeout: deadlines.headers,
      requestTimeout: deadlines.request,
      keepAliveTimeout: keepAliveSeconds * 1000,
      connectionsCheckingInterval: Math.min(deadlines.headers / 2, 5000),
      // Any other upgrade, as the h2c that Java's clients offer, is a request like all others.
      shouldUpgradeCallback: ({ method, headers }) =>
        elsewhere !== undefined && method === 'GET' && headers.upgrade?.toLowerCase() === 'websocket',
    },
    (request, response) => {
      if (!order.begins(request, response)) return;
      guarded(ways, response, () => {
        const admitted = admit(request, rules);
        if (admitted.kind === 'refused' || isCoded(request)) {
          order.isLast(request);
          door.turnAway(request, response, admitted.kind === 'refused' ? admitted.status : 501);
        } else if (admitted.kind === 'mcp') door.enter(request, response, admitted.target, admitted.path);
        else elsewhere?.enter(request, response, admitted.target);
      });
    },
  );
  const order = keepInOrder(server, () => ways.telemetry.record({ type: 'limited', limit: 'pipelined' }));
  if (elsewhere !== undefined) {
    const upgrade = createUpgrade(ways, elsewhere);
    server.on('upgrade', (request, socket, head) => {
      if (!order.begins(request)) return void socket.destroy();
      return guarded(ways, socket, () => upgrade(request, socket, head));
    });
  }
  return server;
}

/** A request that something here throws at is broken off: out of an event handler the error would end the process. */
function guarded({ telemetry }: Ways, answer: { destroy(): unknown }, take: () => void): void {
  try {
    take();
  } catch (error) {
    telemetry.record({ type: 'fault', error: asError(error) });
    answer.destroy();
  }
}

const NO_UPGRADE = { status: 400, code: CODE.server, message: 'Bad request: no upgrade is taken here' };

/** The MCP endpoint speaks no WebSocket; and a body would be read as the first bytes after the upgrade. */
function createUpgrade({ rules, telemetry }: Ways, elsewhere: Passthrough) {
  return (request: IncomingMessage, socket: Duplex, head: Buffer): void => {
    // It always is one: the type is wider for those who emit the event themselves.
    if (!(socket instanceof Socket)) return void socket.destroy();
    // Whoever takes it hears of its end in other ways.
    socket.on('error', () => {});
    const admitted = admit(request, rules);
    const { 'content-length': length, 'transfer-encoding': coding } = request.headers;
    if (admitted.kind === 'other' && Number(length ?? 0) === 0 && coding === undefined) {
      return elsewhere.upgrade(request, socket, head, admitted.target);
    }
    const refusal = admitted.kind === 'refused' ? refusalOf(admitted.status) : NO_UPGRADE;
    refuseUpgrade(request, socket, refusal);
    return recordRefusal(telemetry, refusal.status);
  };
}
