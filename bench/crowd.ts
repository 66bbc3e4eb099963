/** Many clients that call at a steady pace, some of which listen too; they count what a user would notice. */

import { setTimeout as delay } from 'node:timers/promises';
import { Agent, request } from 'undici';
import { z } from 'zod';
import { HEADERS, INITIALIZE } from './load.ts';

export type CrowdOptions = {
  /** MCP endpoints; each request goes to one drawn at random. */
  readonly urls: readonly string[];
  readonly sessions: number;
  /** How many of them hold a listening stream. */
  readonly listeners: number;
  /** From one call of a session to its next, in milliseconds. */
  readonly everyMs: number;
};

/** What the clients saw. */
export type Tally = {
  calls: number;
  /** Calls that were answered by none of the next three. */
  readonly failed: string[];
  /** Calls whose outcome was said to be unknown: keys. */
  readonly unknown: string[];
  /** Keys of calls that were answered. */
  readonly answered: string[];
  streamsEnded: number;
  /** Milliseconds of the slowest call. */
  slowest: number;
};

export type Crowd = {
  readonly tally: Tally;
  /** Lets each end its last call, then asks every session once more; how many are not known any more. */
  leave(): Promise<number>;
};

/** Clients that come at the same moment. */
const AT_ONCE = 20;
/** As an SDK's. Milliseconds. */
const PATIENCE_MS = 60_000;
const ERROR = z.object({ error: z.object({ message: z.string() }).optional() });

type Street = {
  /** The status, the text, and the session's id in the head. */
  readonly post: (session: string | undefined, message: object) => Promise<readonly [number, string, string]>;
  readonly listen: (session: string, ended: () => void) => Promise<void>;
  readonly close: () => Promise<void>;
};

function openStreet(urls: readonly string[]): Street {
  const agent = new Agent({ bodyTimeout: 0, headersTimeout: PATIENCE_MS });
  const url = (): string => urls[Math.floor(Math.random() * urls.length)] ?? '';
  const headers = (session: string | undefined) => ({ ...HEADERS, ...(session && { 'mcp-session-id': session }) });
  return {
    async post(session, message) {
      const body = JSON.stringify({ jsonrpc: '2.0', ...message });
      const answer = await request(url(), { method: 'POST', headers: headers(session), body, dispatcher: agent });
      return [answer.statusCode, await answer.body.text(), String(answer.headers['mcp-session-id'])];
    },
    async listen(session, ended) {
      const answer = await request(url(), { headers: headers(session), dispatcher: agent });
      if (answer.statusCode !== 200) throw new Error(`a stream was answered with ${answer.statusCode}`);
      answer.body
        .on('error', () => {})
        .on('close', ended)
        .resume();
    },
    close: () => agent.destroy(),
  };
}

/** Opens all sessions, then lets them talk. */
export async function openCrowd({ urls, sessions, listeners, everyMs }: CrowdOptions): Promise<Crowd> {
  const tally: Tally = { calls: 0, failed: [], unknown: [], answered: [], streamsEnded: 0, slowest: 0 };
  const street = openStreet(urls);
  const left = new AbortController();
  const ended = (): void => void (left.signal.aborted || (tally.streamsEnded += 1));

  async function open(): Promise<string> {
    const [status, text, id] = await street.post(undefined, { id: 0, method: 'initialize', params: INITIALIZE });
    if (status !== 200) throw new Error(`initialize was answered with ${status}: ${text}`);
    await street.post(id, { method: 'notifications/initialized' });
    return id;
  }
  const ids: string[] = [];
  while (ids.length < sessions) ids.push(...(await Promise.all(Array.from({ length: AT_ONCE }, open))));
  for (const id of ids.slice(0, listeners)) await street.listen(id, ended);

  async function call(session: string, key: string): Promise<void> {
    const begun = performance.now();
    tally.calls += 1;
    try {
      const params = { name: 'effect', arguments: { key } };
      note(key, await street.post(session, { id: key, method: 'tools/call', params }));
    } catch (error) {
      tally.failed.push(`${key} ${String(error)}`);
    }
    tally.slowest = Math.max(tally.slowest, performance.now() - begun);
  }
  function note(key: string, [status, text]: readonly [number, string, string]): void {
    const message = text.startsWith('{') ? text : (/^data: (\{.*)$/m.exec(text)?.[1] ?? '{}');
    const error = ERROR.parse(JSON.parse(message)).error?.message;
    if (error?.includes('the outcome is unknown')) tally.unknown.push(key);
    else if (status === 200 && message.includes(`"id":"${key}"`) && error === undefined) tally.answered.push(key);
    else tally.failed.push(`${key} ${status} ${text.slice(0, 200)}`);
  }
  async function talk(session: string, at: number): Promise<void> {
    await delay(Math.random() * everyMs);
    for (let turn = 0; !left.signal.aborted; turn += 1) {
      const next = performance.now() + everyMs;
      await call(session, `${at}-${turn}`);
      await delay(Math.max(0, next - performance.now()), undefined, { signal: left.signal }).catch(() => {});
    }
  }
  const talking = Promise.all(ids.map(talk));
  return {
    tally,
    async leave() {
      left.abort();
      await talking;
      let lost = 0;
      for (const id of ids) if ((await street.post(id, { id: 1, method: 'ping' }))[0] !== 200) lost += 1;
      await street.close();
      return lost;
    },
  };
}
