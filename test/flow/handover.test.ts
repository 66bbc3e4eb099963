/** A backend that drains itself on SIGTERM: it hands its sessions over, each when it is quiet, and then it ends. */

import type { ElicitResult } from '@modelcontextprotocol/sdk/types.js';
import { describe, expect, onTestFinished, test } from 'vitest';
import { type Flow, type FlowOptions, startFlow } from '../house/flow.ts';
import type { Talk } from '../house/talk.ts';
import { until } from '../house/until.ts';

async function begin(options: FlowOptions = {}): Promise<Flow> {
  const flow = await startFlow(options);
  onTestFinished(() => flow.close());
  return flow;
}
/** Migrations that were not planned, or went wrong. Two proxies may both be told that a session leaves: one is first. */
const troubles = (flow: Flow) => flow.migrations().filter((one) => !/ drain (migrated|raced)$/.test(one));
const moves = (flow: Flow) => flow.migrations().filter((one) => one.endsWith('migrated')).length;
const streams = (flow: Flow, change: 'opened' | 'reattached') =>
  flow.events().filter((event) => event.type === 'stream' && event.change === change).length;
async function listening(flow: Flow, talk: Talk, count = 1): Promise<void> {
  await talk.client.subscribeResource({ uri: 'demo://clock' });
  await until('it listens', () => streams(flow, 'opened') >= count);
}

describe.each([
  ['one proxy', 1],
  ['two proxies', 2],
])('%s', (_name, proxies) => {
  test('a session moves at its next call, and the server ends by itself', async () => {
    const flow = await begin({ proxies });
    const talk = await flow.talk();
    const home = await talk.task('ping');
    const ended = flow.backend(home).stop();
    const next = await until('another answers', async () => {
      const task = await talk.task('ping');
      return task !== home && task;
    });
    expect([await talk.count(), await talk.count(), await ended]).toEqual([`${next}1`, `${next}2`, 0]);
    expect(flow.migrations()).toEqual([`${home} ${next} drain migrated`]);
  });

  test('a stream is handed over, and goes on with the new home, though nobody calls', async () => {
    const flow = await begin({ proxies });
    const talk = await flow.talk();
    await listening(flow, talk);
    const home = await talk.task('ping');
    expect(await flow.backend(home).stop()).toBe(0);
    await until('the stream is attached again', () => streams(flow, 'reattached') === 1);
    const updates = talk.heard.updates.length;
    expect(await talk.task('touch_resource')).not.toBe(home);
    await until('it hears of the new home', () => talk.heard.updates.length > updates);
    expect([moves(flow) > 0, troubles(flow)]).toEqual([true, []]);
  });

  test('a call that runs finishes at home, another proxy serves beside it, and then the session moves', async () => {
    const flow = await begin({ proxies });
    const talk = await flow.talk();
    const other = await flow.join(talk, proxies - 1);
    const home = await talk.task('ping');
    const call = talk.call('effect', { key: 'long', ms: 2000 });
    await flow.begun('long');
    const ended = flow.backend(home).stop();
    await until('it drains', async () => (await fetch(`${flow.backend(home).origin}/health`)).status === 503);
    expect(await other.task('ping')).toBe(home);
    await call;
    expect(flow.runs('long')).toEqual([home]);
    expect(await other.task('ping')).not.toBe(home);
    expect([await ended, moves(flow), troubles(flow)]).toEqual([0, 1, []]);
  });

  test('a question that waits for its answer keeps the session', async () => {
    const flow = await begin({ proxies });
    let answer = (_result: ElicitResult): void => {};
    let asked = false;
    const talk = await flow.talk({
      onQuestion: () =>
        new Promise((resolve) => {
          asked = true;
          answer = resolve;
        }),
    });
    const home = await talk.task('ping');
    const call = talk.call('confirm', { question: 'Really?' });
    await until('it is asked', () => asked);
    const ended = flow.backend(home).stop();
    await until('it drains', async () => (await fetch(`${flow.backend(home).origin}/health`)).status === 503);
    answer({ action: 'accept', content: { yes: true } });
    expect(await call).toMatch(/^said=yes/);
    expect(await talk.task('ping')).not.toBe(home);
    expect([await ended, moves(flow), troubles(flow)]).toEqual([0, 1, []]);
  });

  test('every server is replaced under twenty clients that talk and listen: no call fails, no session crashes', async () => {
    const flow = await begin({ proxies });
    const talks = await Promise.all(Array.from({ length: 20 }, (_, at) => flow.talk({}, at % proxies)));
    for (const [at, talk] of talks.entries()) await listening(flow, talk, at + 1);
    const over = new AbortController();
    const said: string[] = [];
    const talking = talks.map(async (talk) => {
      while (!over.signal.aborted) said.push(await talk.outcome('ping'));
    });
    for (const { id } of flow.servers.servers) {
      expect(await flow.backend(id).stop()).toBe(0);
      await flow.backend(id).restart();
    }
    over.abort();
    await Promise.all(talking);
    expect(said.filter((answer) => !/^[abc]$/.test(answer))).toEqual([]);
    expect(said.length).toBeGreaterThan(200);
    expect([moves(flow) > 0, troubles(flow)]).toEqual([true, []]);
  }, 60_000);
});

test('where there is no other, the draining server serves on until its time is over', async () => {
  const flow = await begin({ backends: ['a'], env: { DRAIN_SECONDS: '2' } });
  const talk = await flow.talk();
  expect(await talk.count()).toBe('a1');
  const ended = flow.backend('a').stop();
  await until('it drains', async () => (await fetch(`${flow.backend('a').origin}/health`)).status === 503);
  expect([await talk.count(), await (await flow.talk()).count(), await ended]).toEqual(['a2', 'a1', 0]);
});
