/** Scale-in protection against an agent endpoint of our own, over HTTP: its three answers, and none. */

import { type IncomingMessage, type ServerResponse, createServer } from 'node:http';
import { describe, expect, onTestFinished, test } from 'vitest';
import { type Protection, type ProtectionOptions, scaleInProtection } from '../../server/protection.ts';
import { until } from '../house/until.ts';

type Told = {
  readonly method: string | undefined;
  readonly url: string | undefined;
  readonly body: string;
  readonly at: number;
};
/** Status and body; undefined says nothing at all. */
type Answer = readonly [number, object | string] | undefined;
type Agent = { readonly uri: string; readonly told: readonly Told[]; answer: (enabled: boolean) => Answer };

const ARN = 'arn:aws:ecs:eu-central-1:123456789012:task/demo/0f9de17a6465404e8b1b2356dc13c2f8';
const done = (enabled: boolean, expires = new Date(Date.now() + 600_000)): Answer => [
  200,
  {
    protection: {
      ProtectionEnabled: enabled,
      ExpirationDate: enabled ? expires.toISOString() : null,
      TaskArn: ARN,
    },
  },
];
const blocked: Answer = [200, { failure: { Arn: ARN, Detail: null, Reason: 'DEPLOYMENT_BLOCKED' } }];
const throttled: Answer = [
  400,
  { error: { Arn: ARN, Code: 'ThrottlingException', Message: 'Rate exceeded' }, requestID: 'x' },
];

async function startAgent(answer: Agent['answer'] = done): Promise<Agent> {
  const told: Told[] = [];
  async function respond(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const text = await textOf(request);
    told.push({ method: request.method, url: request.url, body: text, at: performance.now() });
    const said = agent.answer(text.includes('"ProtectionEnabled":true'));
    if (said) response.writeHead(said[0]).end(typeof said[1] === 'string' ? said[1] : JSON.stringify(said[1]));
    else response.destroy();
  }
  const server = createServer((request, response) => void respond(request, response));
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  const address = server.address();
  const agent: Agent = {
    uri: `http://127.0.0.1:${typeof address === 'object' && address ? address.port : 0}/api/abc`,
    told,
    answer,
  };
  return agent;
}

async function textOf(request: IncomingMessage): Promise<string> {
  let text = '';
  for await (const chunk of request) text += String(chunk);
  return text;
}

function protect(agent: Agent, options: Partial<ProtectionOptions> = {}) {
  const state = { sessions: 0 };
  const heard: Protection[] = [];
  const protection = scaleInProtection({
    sessions: () => state.sessions,
    everySeconds: 0.01,
    onChange: (now) => heard.push(now),
    env: { ECS_AGENT_URI: agent.uri },
    ...options,
  });
  onTestFinished(() => protection.close());
  return {
    state,
    heard,
    protection,
    words: () => heard.map((one) => ('reason' in one ? `${one.kind} ${one.reason}` : one.kind)),
  };
}
const asked = ({ told }: Agent) => told.map(({ body }) => body);
const ON = '{"ProtectionEnabled":true,"ExpiresInMinutes":10}';
const OFF = '{"ProtectionEnabled":false}';

describe('the agent protects', () => {
  test('from the first session to the last', async () => {
    const agent = await startAgent();
    const { state, words } = protect(agent);
    state.sessions = 2;
    await until('it is on', () => words().length === 1);
    state.sessions = 1;
    await pause(50);
    state.sessions = 0;
    await until('it is off', () => words().length === 2);
    expect(words()).toEqual(['on', 'off']);
    expect(asked(agent)).toEqual([ON, OFF]);
    expect(agent.told[0]).toMatchObject({ method: 'PUT', url: '/api/abc/task-protection/v1/state' });
  });

  test('and is asked again at half the time that it gave', async () => {
    const agent = await startAgent((enabled) => done(enabled, new Date(Date.now() + 300)));
    const { state } = protect(agent, { expiresInMinutes: 1 });
    state.sessions = 1;
    await until('it was renewed twice', () => agent.told.length === 3);
    const [first = 0, second = 0] = agent.told.map(({ at }) => at);
    expect(second - first).toBeGreaterThan(100);
    expect(second - first).toBeLessThan(290);
  });

  test('no longer than the longest time, until it was empty', async () => {
    const agent = await startAgent();
    const { state, words } = protect(agent, { maxAgeSeconds: 0.1 });
    state.sessions = 1;
    await until('it is off', () => words().length === 2);
    await pause(50);
    expect(words()).toEqual(['on', 'off']);
    state.sessions = 0;
    await pause(30);
    state.sessions = 1;
    await until('it is on again', () => words().length === 3);
  });

  test('and no more once it is closed', async () => {
    const agent = await startAgent();
    const { state, words, protection } = protect(agent);
    state.sessions = 1;
    await until('it is on', () => words().length === 1);
    await protection.close();
    await protection.close();
    expect(asked(agent)).toEqual([ON, OFF]);
  });
});

describe('the agent does not', () => {
  test('a deployment waits: it is said once, asked again ever less often, and works when it may', async () => {
    const agent = await startAgent((enabled) => (enabled ? blocked : done(false)));
    const { state, words } = protect(agent);
    state.sessions = 1;
    await until('it was asked five times', () => agent.told.length >= 5);
    const gaps = agent.told.slice(1).map(({ at }, index) => at - agent.told[index]!.at);
    expect(gaps[3]).toBeGreaterThan(gaps[0]! * 2);
    expect(words()).toEqual(['refused DEPLOYMENT_BLOCKED']);
    agent.answer = done;
    await until('it is on', () => words().length === 2);
    expect(words()[1]).toBe('on');
  });

  test.each<[string, Answer, string]>([
    ['throttles', throttled, 'failed ThrottlingException'],
    ['says something else', [500, 'no JSON'], 'failed SyntaxError'],
    ['says nothing that we know', [503, {}], 'failed status 503'],
    ['breaks off', undefined, 'failed TypeError'],
  ])('it %s: asked again after a pause that grows', async (_how, answer, expected) => {
    const agent = await startAgent(() => answer);
    const { state, words } = protect(agent);
    state.sessions = 1;
    await until('it was asked five times', () => agent.told.length >= 5);
    const gaps = agent.told.slice(1).map(({ at }, index) => at - agent.told[index]!.at);
    expect(gaps[3]).toBeGreaterThan(gaps[0]! * 2);
    expect(words()).toEqual([expected]);
    agent.answer = done;
    await until('it is on', () => words().length === 2);
    state.sessions = 0;
    await until('it is off', () => words().length === 3);
    expect(words().slice(1)).toEqual(['on', 'off']);
  });

  test('a listener or a count that throws harms nobody', async () => {
    const agent = await startAgent();
    let broken = false;
    const protection = scaleInProtection({
      sessions() {
        if (broken) throw new Error('no harm');
        return 1;
      },
      onChange() {
        throw new Error('no harm');
      },
      everySeconds: 0.01,
      env: { ECS_AGENT_URI: agent.uri },
    });
    onTestFinished(() => protection.close());
    await until('it is on', () => protection.now.kind === 'on');
    broken = true;
    await pause(50);
    expect(protection.now.kind).toBe('on');
  });
});

test('without an agent nothing is done', async () => {
  const protection = scaleInProtection({ sessions: () => 1, env: {} });
  expect(protection.now).toEqual({ kind: 'off' });
  await protection.close();
});

test.each([
  { expiresInMinutes: 0 },
  { expiresInMinutes: 2881 },
  { maxAgeSeconds: -1 },
  { everySeconds: 0 },
  { everySeconds: Number.NaN },
])('%j is no time', (options) => {
  expect(() => scaleInProtection({ sessions: () => 1, env: {}, ...options })).toThrow(RangeError);
});

/** Long enough for several looks: nothing is to happen. */
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
