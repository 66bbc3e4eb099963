/** MCP servers of a model, in memory, and the way to them: they die, come back empty, and keep a ledger of what ran. */

import {
  type Attempt,
  type Exchange,
  HEADER,
  type Session,
  type Sink,
  type Upstream,
} from '../../../proxy/contract.ts';
import { headerValue } from '../../../proxy/headers.ts';
import { idsOf, isRequest } from '../../../proxy/jsonrpc.ts';
import type { Schedule } from './schedule.ts';

type Held = { readonly streams: Set<(end: 'clean' | 'broken') => void> };
export type ModelServer = { readonly id: string; up: boolean; readonly sessions: Map<string, Held> };

export type ModelServers = {
  readonly all: readonly ModelServer[];
  readonly upstream: Upstream;
  readonly kill: (server: ModelServer) => void;
  readonly restart: (server: ModelServer) => void;
  /** The keys of the effects that ran, in order. */
  readonly ledger: readonly string[];
  /** How many calls run for the client's session. */
  readonly running: ReadonlyMap<string, number>;
  /** Backend sessions whose `initialize` was never answered: nobody knows them. */
  readonly unheard: ReadonlySet<string>;
};

const JSON_TYPE = ['content-type', 'application/json'] as const;

export function newServers(ids: readonly string[], { turn, say }: Schedule): ModelServers {
  const all = ids.map((id): ModelServer => ({ id, up: true, sessions: new Map() }));
  const ledger: string[] = [];
  const running = new Map<string, number>();
  const unheard = new Set<string>();
  let issued = 0;

  const count = (id: string, change: number): void => void running.set(id, (running.get(id) ?? 0) + change);
  const unsent = (): Attempt => ({ kind: 'unsent', cause: new Error('refused'), blame: 'backend' });
  const lost = (...unanswered: (string | number)[]): Attempt => ({ kind: 'lost', cause: new Error('cut'), unanswered });
  function answer(sink: Sink, status: number, body: object | undefined, id?: string): Attempt {
    const fields = [...(body ? JSON_TYPE : []), ...(id === undefined ? [] : [HEADER.session, id])];
    sink.heard?.(fields);
    sink.head(status, fields);
    if (body) sink.chunk(Buffer.from(JSON.stringify(body)));
    sink.end();
    return { kind: 'answered', status };
  }

  async function open(server: ModelServer, id: string | number, exchange: Exchange, sink: Sink): Promise<Attempt> {
    const session = `${server.id}/${(issued += 1)}`;
    const held: Held = { streams: new Set() };
    server.sessions.set(session, held);
    unheard.add(session);
    say(`${server.id} issues ${session} for ${headerValue(exchange.headers, HEADER.affinitySession) ?? 'a new one'}`);
    await turn(`${server.id} answers initialize`);
    if (server.sessions.get(session) !== held) return lost(id);
    unheard.delete(session);
    const result = { protocolVersion: '2025-11-25', capabilities: { tools: {} }, serverInfo: { name: 'model' } };
    return answer(sink, 200, { jsonrpc: '2.0', id, result }, session);
  }

  async function post(server: ModelServer, held: Held, exchange: Exchange, session: Session, sink: Sink) {
    const request = exchange.intent.kind === 'continue' ? exchange.intent.messages.find(isRequest) : undefined;
    if (request === undefined) return answer(sink, 202, undefined);
    const key = request.params?.['name'] === undefined ? undefined : String(request.params['key']);
    if (key !== undefined) ledger.push(key);
    count(session.id, key === undefined ? 0 : 1);
    await turn(`${server.id} answers ${request.method} ${key ?? ''}`);
    count(session.id, key === undefined ? 0 : -1);
    if (server.sessions.get(session.backendSessionId) !== held) return lost(request.id);
    return answer(sink, 200, { jsonrpc: '2.0', id: request.id, result: {} });
  }

  function listen(held: Held, exchange: Exchange, sink: Sink): Promise<Attempt> {
    sink.head(200, ['content-type', 'text/event-stream']);
    return new Promise((resolve) => {
      const over = (attempt: Attempt): void => {
        held.streams.delete(end);
        resolve(attempt);
      };
      const end = (how: 'clean' | 'broken'): void => {
        if (how === 'clean') sink.end();
        over(how === 'clean' ? { kind: 'answered', status: 200 } : lost());
      };
      held.streams.add(end);
      exchange.signal.addEventListener('abort', () => over({ kind: 'abandoned' }), { once: true });
    });
  }

  async function send(exchange: Exchange, session: Session | undefined, id: string, sink: Sink): Promise<Attempt> {
    const { intent, signal } = exchange;
    await turn(`${exchange.method} ${intent.kind} reaches ${id}`);
    const server = all.find((one) => one.id === id);
    if (signal.aborted) return { kind: 'abandoned' };
    if (server?.up !== true) return unsent();
    if (intent.kind === 'open') return open(server, intent.initialize.id, exchange, sink);
    const held = server.sessions.get(session?.backendSessionId ?? '');
    if (intent.kind !== 'continue' || session === undefined || held === undefined) {
      const error = { code: -32_001, message: 'Session not found' };
      const show = (): Attempt => answer(sink, 404, { jsonrpc: '2.0', id: null, error });
      return { kind: 'doubtful', doubt: 'strong', status: 404, unanswered: idsOf(exchange), show };
    }
    if (intent.verb === 'listen') return listen(held, exchange, sink);
    if (intent.verb === 'post') return post(server, held, exchange, session, sink);
    say(`${server.id} forgets ${session.backendSessionId}`);
    server.sessions.delete(session.backendSessionId);
    for (const end of held.streams) end('clean');
    return answer(sink, 200, undefined);
  }

  return {
    all,
    ledger,
    running,
    unheard,
    upstream: { send: (exchange, session, to, sink) => send(exchange, session, to.id, sink) },
    kill(server) {
      say(`kill ${server.id}`);
      server.up = false;
      const dead = [...server.sessions.values()];
      server.sessions.clear();
      for (const { streams } of dead) for (const end of streams) end('broken');
    },
    restart(server) {
      say(`restart ${server.id}`);
      server.up = true;
    },
  };
}
