/** A whole proxy in this process before nasty backends: configured by flags, on a free port, with deadlines of the test's. */

import { type Deadlines, DEADLINES } from '../../proxy/app.ts';
import { parseConfig } from '../../proxy/config.ts';
import type { RoutingEvent } from '../../proxy/events.ts';
import { start } from '../../proxy/main.ts';
import { createTelemetry } from '../../proxy/telemetry/telemetry.ts';
import { type Nasty, type NastyRequest, startNasty } from './nasty.ts';
import { type RawClient, assertTight, dial, post } from './raw.ts';

export type Edge = {
  readonly port: number;
  readonly opsPort: number;
  readonly a: Nasty;
  /** What the proxy recorded, in order. */
  readonly events: readonly RoutingEvent[];
  /** A connection of a client. */
  dial(): Promise<RawClient>;
  /** A session at a: the id is what the client holds. */
  open(id: string): Promise<void>;
  /** Throws when an answer since the last look told what is inside. */
  assertTight(): void;
  stop(): Promise<void>;
  close(): Promise<void>;
};

/** A test need not wait for a load balancer that is not there. */
const NOW = ['--lame-duck-seconds', '0'];

export type EdgeOptions = {
  readonly flags?: readonly string[];
  readonly deadlines?: Partial<Deadlines>;
  /** More backends than a. */
  readonly others?: readonly string[];
};

export async function startEdge({ flags = [], deadlines = {}, others = [] }: EdgeOptions = {}): Promise<Edge> {
  const a = await startNasty({ alive: true });
  const origins = [a.origin, ...others];
  const args = ['--port', '0', '--ops-port', '0', '--drain-seconds', '1', ...NOW, '--hold-seconds', '0', ...flags];
  const parsed = parseConfig([...args, ...origins.flatMap((origin) => ['--backend', origin])], {});
  if (parsed.kind === 'faults') throw new Error(parsed.faults.join('\n'));
  const telemetry = createTelemetry({ level: 'error', destination: { write() {} } });
  const events: RoutingEvent[] = [];
  const record = (event: RoutingEvent): void => {
    events.push(event);
    telemetry.record(event);
  };
  const running = await start(parsed.config, { ...telemetry, record }, { ...DEADLINES, ...deadlines });
  return {
    port: running.port,
    opsPort: running.opsPort,
    a,
    events,
    dial: () => dial(running.port),
    async open(id) {
      const client = await dial(running.port);
      client.send(post(INITIALIZE));
      greet(await a.next(), id);
      await client.answer();
      client.leave();
    },
    assertTight() {
      assertTight(origins.map((origin) => new URL(origin).port));
    },
    stop: () => running.stop(),
    async close() {
      await running.stop();
      await a.close();
    },
  };
}

export const INITIALIZE = {
  jsonrpc: '2.0',
  id: 'first',
  method: 'initialize',
  params: { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'raw', version: '1' } },
} as const;

/** Answers an `initialize` with a session of that id. */
export function greet(request: NastyRequest, id: string): void {
  const result = { protocolVersion: '2025-11-25', capabilities: {}, serverInfo: { name: 'nasty', version: '1' } };
  request.answer(200, { jsonrpc: '2.0', id: INITIALIZE.id, result }, [
    ['content-type', 'application/json'],
    ['mcp-session-id', id],
  ]);
}
