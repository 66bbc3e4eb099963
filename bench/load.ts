/** The clients: sessions that call one tool again and again over connections that stay open. */

import { Pool } from 'undici';

/** How the backend answers: one JSON body, or a stream with one event. */
export type Answer = 'json' | 'stream';

export type Load = {
  /** Makes the calls and returns how many seconds they took. Throws when an answer is not the one to its call. */
  call(answer: Answer, calls: number): Promise<number>;
  close(): Promise<void>;
};

export type LoadOptions = { readonly sessions: number; readonly connections: number };

export const HEADERS = {
  accept: 'application/json, text/event-stream',
  'content-type': 'application/json',
  'mcp-protocol-version': '2025-11-25',
  'user-agent': 'bench',
};
export const INITIALIZE = {
  protocolVersion: '2025-11-25',
  capabilities: {},
  clientInfo: { name: 'bench', version: '1' },
};

/** Opens the sessions at `origin`. */
export async function openLoad(origin: string, { sessions, connections }: LoadOptions): Promise<Load> {
  const pool = new Pool(origin, { connections, pipelining: 1 });
  const request = async (headers: Record<string, string>, id: number, method: string, params: object) => {
    const body = JSON.stringify({ jsonrpc: '2.0', id, method, params });
    const answer = await pool.request({ path: '/mcp', method: 'POST', headers: { ...HEADERS, ...headers }, body });
    const text = await answer.body.text();
    if (answer.statusCode !== 200 || !new RegExp(`"id":${id}[,}]`).test(text)) {
      throw new Error(`${origin} answered ${answer.statusCode} to ${method}: ${text.slice(0, 200)}`);
    }
    return answer.headers['mcp-session-id'];
  };
  const ids: string[] = [];
  for (let at = 0; at < sessions; at += 1) {
    const id = String(await request({}, 0, 'initialize', INITIALIZE));
    const body = JSON.stringify({ jsonrpc: '2.0', method: 'notifications/initialized' });
    const headers = { ...HEADERS, 'mcp-session-id': id };
    await (await pool.request({ path: '/mcp', method: 'POST', headers, body })).body.dump();
    ids.push(id);
  }

  async function call(answer: Answer, calls: number): Promise<number> {
    let made = 0;
    const client = async (): Promise<void> => {
      while (made < calls) {
        const id = (made += 1);
        const session = ids[id % ids.length] ?? '';
        await request({ 'mcp-session-id': session }, id, 'tools/call', { name: answer, arguments: { key: 'value' } });
      }
    };
    const begun = performance.now();
    await Promise.all(Array.from({ length: connections }, client));
    return (performance.now() - begun) / 1000;
  }
  return { call, close: () => pool.close() };
}
