/** Discovery against moto's AWS Cloud Map, where a Python that has moto can be had: an emulator that is not ours. */

import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, beforeEach, expect, test, vi } from 'vitest';
import { askCloudMap } from '../../proxy/backends/cloud-map-client.ts';
import { cloudMapBackends } from '../../proxy/backends/cloud-map.ts';
import type { RoutingEvent } from '../../proxy/events.ts';
import { freePort } from '../house/redis.ts';
import { until } from '../house/until.ts';

const run = promisify(execFile);
const FOLDER = join(tmpdir(), 'mcp-affinity-moto');
const INSTALL_MS = 240_000;

let server: ChildProcess | undefined;
let url = '';
let why = '';

/** `MOTO_PYTHON` names a Python that has it; else python3 makes one, which is kept. Throws where there is none. */
async function findMoto(): Promise<string> {
  const { MOTO_PYTHON: given } = process.env;
  if (given !== undefined && given !== '') return given;
  const python = join(FOLDER, 'bin', 'python');
  const has = await run(python, ['-c', 'import moto.server']).then(
    () => true,
    () => false,
  );
  if (has) return python;
  try {
    await run('python3', ['-m', 'venv', '--clear', FOLDER]);
    await run(python, ['-m', 'pip', 'install', '-q', '--retries', '0', 'moto[server]'], { timeout: INSTALL_MS });
    return python;
  } catch (error) {
    await rm(FOLDER, { recursive: true, force: true });
    throw error;
  }
}

beforeAll(async () => {
  try {
    const python = await findMoto();
    const port = await freePort();
    server = spawn(python, ['-m', 'moto.server', '-H', '127.0.0.1', '-p', String(port)], { stdio: 'ignore' });
    url = `http://127.0.0.1:${port}`;
    await until(
      'moto answers',
      () =>
        fetch(`${url}/moto-api/data.json`).then(
          ({ ok }) => ok,
          () => false,
        ),
      30_000,
    );
  } catch (error) {
    const said = error instanceof Error ? error.message.trim().split('\n').at(-1) : String(error);
    why = `MOTO_PYTHON names no Python with moto, and python3 could not install it: ${said}`;
    process.stdout.write(`Not run against moto: ${why}\n`);
  }
}, INSTALL_MS + 60_000);
afterAll(() => void server?.kill('SIGKILL'));
beforeEach((context) => {
  if (why !== '') context.skip(why);
  vi.stubEnv('AWS_ENDPOINT_URL_SERVICEDISCOVERY', url);
  vi.stubEnv('AWS_REGION', 'eu-west-1');
  vi.stubEnv('AWS_ACCESS_KEY_ID', 'test');
  vi.stubEnv('AWS_SECRET_ACCESS_KEY', 'test');
});

/** A namespace and a service, made by the SDK's own client. */
async function openService(namespace: string) {
  const sdk = await import('@aws-sdk/client-servicediscovery');
  const client = new sdk.ServiceDiscoveryClient({});
  await client.send(new sdk.CreateHttpNamespaceCommand({ Name: namespace }));
  const { Namespaces = [] } = await client.send(new sdk.ListNamespacesCommand({}));
  const made = Namespaces.find(({ Name }) => Name === namespace);
  const { Service } = await client.send(new sdk.CreateServiceCommand({ Name: 'server', NamespaceId: made?.Id }));
  const ServiceId = Service?.Id;
  return {
    register: (id: string, host: string) =>
      client.send(
        new sdk.RegisterInstanceCommand({
          ServiceId,
          InstanceId: id,
          Attributes: { AWS_INSTANCE_IPV4: host, AWS_INSTANCE_PORT: '3000', AVAILABILITY_ZONE: 'eu-west-1a' },
        }),
      ),
    deregister: (id: string) => client.send(new sdk.DeregisterInstanceCommand({ ServiceId, InstanceId: id })),
    setHealth: (id: string, Status: 'HEALTHY' | 'UNHEALTHY') =>
      client.send(new sdk.UpdateInstanceCustomHealthStatusCommand({ ServiceId, InstanceId: id, Status })),
  };
}

/** The instances are asked for each time: moto's revision may be the same after a change. */
async function discover(namespace: string) {
  const events: RoutingEvent[] = [];
  const record = (event: RoutingEvent): void => void events.push(event);
  const client = askCloudMap({ namespace, service: 'server' });
  const backends = cloudMapBackends(client, { port: undefined, refreshMs: 100, instancesMs: 0, record });
  await backends.ready;
  const seen = () =>
    backends
      .list()
      .map(({ id, draining }) => (draining ? `(${id})` : id))
      .toSorted()
      .join(' ');
  return { backends, events, shows: (list: string) => until(`the list is ${list}`, () => seen() === list) };
}

test('instances come, go, are unwell and are well again', async () => {
  const service = await openService('mcp.local');
  await service.register('a', '10.0.0.1');
  const { backends, events, shows } = await discover('mcp.local');
  expect(backends.list()).toMatchObject([{ id: 'a', origin: 'http://10.0.0.1:3000', zone: 'eu-west-1a' }]);
  await service.register('b', '10.0.0.2');
  await shows('a b');
  await service.setHealth('b', 'UNHEALTHY');
  await shows('(b) a');
  await service.setHealth('b', 'HEALTHY');
  await shows('a b');
  await service.deregister('a');
  await shows('(a) b');
  expect(events).toEqual([]);
  await backends.close();
});

test('a namespace that is not there is named', async () => {
  const { backends, events } = await discover('nowhere.local');
  expect(events).toMatchObject([{ state: 'down', cause: expect.stringContaining('no namespace "nowhere.local"') }]);
  await backends.close();
});
