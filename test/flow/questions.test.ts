/** An unanswered question of the server keeps its session at home while that drains, whichever proxy hears the answer. */

import { createHash } from 'node:crypto';
import { Redis } from 'ioredis';
import { describe, expect, onTestFinished, test } from 'vitest';
import { REDIS } from '../../proxy/contract.ts';
import { rawOpen, rawPost } from '../house/by-hand.ts';
import { type TestProxy, startProxy } from '../house/flow.ts';
import { type Home, startHome } from '../house/homes.ts';
import { startRedis } from '../house/redis.ts';
import { until } from '../house/until.ts';

const QUESTION = {
  id: 0,
  method: 'elicitation/create',
  params: { message: 'Now?', requestedSchema: { type: 'object', properties: {} } },
};
const ANSWER = { id: 0, result: { action: 'accept', content: {} } };

async function proxiesOf(homes: readonly Home[], count: number): Promise<readonly TestProxy[]> {
  const flags: string[] = [];
  if (count > 1) {
    const redis = await startRedis();
    onTestFinished(() => redis.close());
    flags.push('--redis', redis.url);
  }
  const origins = homes.map(({ origin }) => origin);
  const proxies = await Promise.all(Array.from({ length: count }, () => startProxy(origins, flags)));
  for (const one of proxies) onTestFinished(() => one.stop());
  return proxies;
}

/** A session that has listened at the proxy from its beginning. */
async function openAt({ url }: TestProxy): Promise<string> {
  const { id } = await rawOpen(url);
  await rawPost(url, { method: 'notifications/initialized' }, { 'mcp-session-id': id });
  const leave = new AbortController();
  onTestFinished(() => leave.abort());
  const { status } = await fetch(url, {
    headers: { accept: 'text/event-stream', 'mcp-session-id': id },
    signal: leave.signal,
  });
  expect(status).toBe(200);
  return id;
}

test.each([1, 2])('%i proxies', async (count) => {
  const homes = [await startHome(), await startHome()];
  for (const one of homes) onTestFinished(() => one.close());
  const proxies = await proxiesOf(homes, count);
  const [first, last] = [proxies[0]!, proxies.at(-1)!];
  const ids = [await openAt(first), await openAt(first), await openAt(first)];
  const crowded = homes.toSorted((one, another) => another.sessions.size - one.sessions.size);
  const [home, other] = [crowded[0]!, crowded[1]!];
  // Two of three sessions have the same home.
  const [asked = '', quiet = ''] = ids.filter((id) => home.sessions.has(id));
  home.tell(asked, QUESTION);
  const ask = async (id: string) => {
    const { message } = await rawPost(last.url, { id: 1, method: 'ping' }, { 'mcp-session-id': id });
    return JSON.stringify(message);
  };
  const headers = { 'content-type': 'application/json' };
  expect((await fetch(`${first.opsUrl}/backends/${home.id}/drain`, { method: 'POST', headers })).status).toBe(202);
  await until('the quiet one has migrated', async () => (await ask(quiet)).includes(other.id));
  expect(await ask(asked)).toContain(home.id);
  const { status } = await rawPost(last.url, ANSWER, { 'mcp-session-id': asked });
  expect([status, home.answers, other.answers]).toEqual([202, [{ jsonrpc: '2.0', ...ANSWER }], []]);
  await until('it has migrated', async () => (await ask(asked)).includes(other.id));
});

describe('a question that nobody will answer is forgotten, in Redis too', () => {
  async function ask() {
    const home = await startHome();
    onTestFinished(() => home.close());
    const redis = await startRedis();
    onTestFinished(() => redis.close());
    const direct = new Redis(redis.url);
    onTestFinished(() => direct.disconnect());
    const proxies = [await startProxy([home.origin], ['--redis', redis.url])];
    proxies.push(await startProxy([home.origin], ['--redis', redis.url]));
    for (const one of proxies) onTestFinished(() => one.stop());
    const id = await openAt(proxies[0]!);
    const key = REDIS.busy(createHash('sha256').update(id).digest('hex'));
    const open = (count: number) =>
      until(`${count} questions are open`, async () => (await direct.zcard(key)) === count && 'so it is');
    home.tell(id, QUESTION);
    await open(1);
    return { home, id, proxies, open };
  }

  test('when the server withdraws it', async () => {
    const { home, id, open } = await ask();
    home.tell(id, { method: 'notifications/cancelled', params: { requestId: QUESTION.id, reason: 'too late' } });
    expect(await open(0)).toBe('so it is');
  });

  test.each([0, 1])('when the client ends its session, at proxy %i', async (at) => {
    const { id, proxies, open } = await ask();
    const { status } = await fetch(proxies[at]!.url, { method: 'DELETE', headers: { 'mcp-session-id': id } });
    expect([status, await open(0)]).toEqual([200, 'so it is']);
  });
});
