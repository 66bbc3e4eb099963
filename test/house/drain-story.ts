/** The story of a planned drain as a client tells it, and what is not as it should be at its end. */

import { setTimeout as delay } from 'node:timers/promises';
import type { Sessions } from '../../proxy/contract.ts';
import type { Given } from '../../proxy/rooms.ts';
import { type Fault, type RelayedBackend, relayBackend } from './faults.ts';
import { type TestProxy, startProxy } from './flow.ts';
import type { TestServers } from './servers.ts';
import { soon, until } from './until.ts';

export type Stage = {
  readonly servers: TestServers;
  /** What the proxy's registry holds, read past the faults. */
  readonly sessions: Sessions;
  /** Of the calls to the backends. */
  readonly backends: Fault;
  /** Of the proxy. */
  readonly flags: readonly string[];
  readonly given: Given;
  /** The session migrates while it only listens; else at its next exchange, which must be soon then. */
  readonly listens: boolean;
  /** Names this story's effects. */
  readonly key: string;
};

type Scene = Stage & {
  readonly proxy: TestProxy;
  readonly relays: readonly RelayedBackend[];
  readonly wrong: string[];
};

/** Milliseconds until the client must have its answer. */
const ANSWER_MS = 8_000;
/** Milliseconds until a migration that comes at all has come: two proxies would have settled the drain by then. */
const MIGRATION_MS = 5_000;
/** How often a client obeys `Retry-After`: a busy machine is slower than the registry may be. */
const COMES_BACK = 5;

/** Tells it once, with servers that are there; the sentences are what went wrong. */
export async function tellDrain(stage: Stage): Promise<readonly string[]> {
  const relays = await Promise.all(stage.servers.servers.map(({ port }) => relayBackend(port, stage.backends)));
  const origins = relays.map(({ origin }) => origin);
  const proxy = await startProxy(origins, ['--hold-seconds', '2', ...stage.flags], stage.given);
  const scene: Scene = { ...stage, proxy, relays, wrong: [] };
  try {
    await act(scene);
    return scene.wrong;
  } catch (error) {
    return [...scene.wrong, error instanceof Error ? error.message : String(error)];
  } finally {
    await proxy.stop();
    await Promise.all(relays.map((relay) => relay.close()));
  }
}

async function act(scene: Scene): Promise<void> {
  const { proxy, wrong, key } = scene;
  const id = await open(scene);
  const leave = new AbortController();
  const stream = { method: 'GET', headers: fields(id), signal: leave.signal };
  const listening = scene.listens ? ask(scene, 'listen', stream) : undefined;
  await said(scene, id, 'call', effect(`${key} 1`));
  const home = (await scene.sessions.find(id))?.home.id ?? 'none';
  await order(scene, home, 'POST');
  const migrated = () => proxy.events.some(({ type }) => type === 'migration');
  if (scene.listens) await until('it migrates', migrated, MIGRATION_MS).catch(() => {});
  await said(scene, id, 'call again', effect(`${key} 2`));
  const ping = await said(scene, id, 'ping', { method: 'ping' });
  if (ping !== 'result') {
    // The one fault may be here; the next one must do.
    if ((await said(scene, id, 'ping again', { method: 'ping' })) !== 'result') wrong.push('the session is dead');
  }
  // A backend that failed to open the session a moment ago is not given it now.
  const avoided = proxy.events.some((event) => event.type === 'suspect' && event.backend !== home);
  if (!migrated() && !avoided) wrong.push('it did not try to migrate');
  await checkHome(scene, id);
  await end(scene, id);
  // The next story's backend may come to its port.
  await order(scene, home, 'DELETE');
  leave.abort();
  await listening;
  for (const run of [1, 2]) {
    if (scene.servers.effects().filter((one) => one.key === `${key} ${run}`).length > 1) wrong.push(`ran ${run} twice`);
  }
  if (proxy.events.some(({ type }) => type === 'fault')) wrong.push('a fault of the program');
  await checkOrphans(scene);
}

/** To drain, or not to; the order itself may fail, and is given again then. */
async function order({ proxy, relays, wrong }: Scene, home: string, method: string): Promise<void> {
  if (!relays.some(({ id }) => id === home)) return void wrong.push(`the session's home is ${home}`);
  const give = async (): Promise<number> => {
    const headers = { 'content-type': 'application/json' };
    return (await fetch(`${proxy.opsUrl}/backends/${home}/drain`, { method, headers })).status;
  };
  const statuses: number[] = [];
  while (!statuses.includes(202) && statuses.length < COMES_BACK) {
    if (statuses.length > 1) await delay(1_000);
    statuses.push(await soon('the order', give(), ANSWER_MS));
  }
  if (!statuses.includes(202)) wrong.push(`${method} was answered: ${statuses.join(' ')}`);
}

/** A client whose `initialize` was refused asks once more. */
async function open(scene: Scene): Promise<string> {
  const params = { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'sweep', version: '1' } };
  for (let tries = 0; tries < 2; tries += 1) {
    const opened = await ask(scene, 'open', posting('', { id: 0, method: 'initialize', params }));
    const id = opened?.headers.get('mcp-session-id');
    if (!opened?.body.includes('"result"') || !id) continue;
    const told = () => ask(scene, 'initialized', posting(id, { method: 'notifications/initialized' }));
    if ((await told())?.status !== 202 && (await told())?.status !== 202) scene.wrong.push('it cannot be initialized');
    return id;
  }
  throw new Error('no session can be opened');
}

async function end(scene: Scene, id: string): Promise<void> {
  const { sessions, wrong } = scene;
  const ended = async () => (await ask(scene, 'end', { method: 'DELETE', headers: fields(id) }))?.status;
  const first = await ended();
  const statuses = first === 200 ? [first] : [first, await ended()];
  if (!statuses.includes(200) && !statuses.includes(404)) wrong.push(`it cannot be ended: ${statuses.join(' ')}`);
  if ((await sessions.find(id)) !== undefined) wrong.push('it has ended and is in the registry');
}

/** The registry's word for the home is one that the home itself would give. */
async function checkHome({ sessions, relays, servers, wrong }: Scene, id: string): Promise<void> {
  const session = await sessions.find(id);
  const at = relays.findIndex((one) => one.id === session?.home.id);
  const server = servers.servers[at];
  if (session === undefined || server === undefined) return void wrong.push('the session has no home');
  if (!(await lives(server.origin, session.backendSessionId))) wrong.push('the home does not know the session');
}

/** Nothing that was opened for this client is left anywhere but what nobody can have ended. */
async function checkOrphans({ relays, servers, wrong }: Scene): Promise<void> {
  for (const [at, { issued, excused }] of relays.entries()) {
    const origin = servers.servers[at]?.origin ?? '';
    for (const id of issued) {
      if (excused.has(id)) continue;
      const gone = async () => !(await lives(origin, id));
      await until('it is gone', gone, ANSWER_MS).catch(() => wrong.push(`an orphan at ${servers.servers[at]?.id}`));
    }
  }
}

async function lives(origin: string, id: string): Promise<boolean> {
  return (await fetch(`${origin}/mcp`, posting(id, { id: 'look', method: 'ping' }))).status !== 404;
}

const effect = (key: string) => ({ method: 'tools/call', params: { name: 'effect', arguments: { key } } });

/** `result`, `error`, or `cut` for a connection that was closed; anything else is wrong. */
async function said(scene: Scene, id: string, what: string, message: object): Promise<string> {
  const answer = await ask(scene, what, posting(id, { id: what, ...message }));
  if (answer === undefined) return 'cut';
  const data = answer.body.startsWith('{')
    ? answer.body
    : answer.body
        .split('\n')
        .findLast((line) => line.startsWith('data: {'))
        ?.slice(6);
  const parsed: unknown = JSON.parse(data ?? 'null');
  const known = typeof parsed === 'object' && parsed !== null && 'id' in parsed && parsed.id === what;
  if (known && 'result' in parsed) return 'result';
  if (known && 'error' in parsed) return 'error';
  scene.wrong.push(`${what} was answered with ${answer.status} ${JSON.stringify(answer.body)}`);
  return 'nonsense';
}

type Answer = { readonly status: number; readonly headers: Headers; readonly body: string };

/** One that is told to come back later does so, for nothing has run then. */
async function ask(scene: Scene, what: string, init: RequestInit): Promise<Answer | undefined> {
  for (let left = COMES_BACK; ; left -= 1) {
    const answer = await askOnce(scene, what, init);
    const later = answer?.status === 503 ? Number(answer.headers.get('retry-after') ?? Number.NaN) : Number.NaN;
    if (Number.isNaN(later) || left === 0) return answer;
    await delay(later * 1_000);
  }
}

/** Undefined when the connection was closed under it. */
async function askOnce({ proxy, wrong }: Scene, what: string, init: RequestInit): Promise<Answer | undefined> {
  const asked = fetch(proxy.url, init).then(async (answer) => {
    const { status, headers } = answer;
    return { status, headers, body: await answer.text() };
  });
  const over = asked.catch(() => undefined);
  // A listening stream has its end with the story's.
  if (what === 'listen') return over;
  return soon(what, over, ANSWER_MS).catch(() => {
    wrong.push(`${what} hangs`);
    return undefined;
  });
}

function fields(id: string): Record<string, string> {
  const accept = 'application/json, text/event-stream';
  return { 'content-type': 'application/json', accept, ...(id !== '' && { 'mcp-session-id': id }) };
}

function posting(id: string, message: object): RequestInit {
  return { method: 'POST', headers: fields(id), body: JSON.stringify({ jsonrpc: '2.0', ...message }) };
}
