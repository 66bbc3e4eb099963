/** docker-compose.yml without an engine: it agrees with the programs and keeps its own promises. */

import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { parse } from 'yaml';
import { z } from 'zod';
import { parseConfig } from '../../proxy/config.ts';
import { OPTIONS } from '../../proxy/options.ts';
import { DEMO_VARIABLES, parseDemoConfig } from '../../server/demo/config.ts';

const SERVICE = z.object({
  image: z.string(),
  build: z.object({ target: z.string() }).optional(),
  profiles: z.array(z.string()).default([]),
  environment: z.record(z.string(), z.union([z.string(), z.number()])).default({}),
  volumes: z.array(z.string()).default([]),
  ports: z.array(z.string()).default([]),
  depends_on: z.record(z.string(), z.object({ condition: z.literal('service_healthy') })).default({}),
  stop_grace_period: z.string().optional(),
  healthcheck: z.object({ test: z.array(z.string()).optional() }).optional(),
  deploy: z.object({
    replicas: z.number().default(1),
    resources: z.object({ limits: z.object({ cpus: z.string(), memory: z.string() }) }),
  }),
});
const read = (file: string) => readFileSync(new URL(`../../${file}`, import.meta.url), 'utf8');
const { services } = z
  .object({ services: z.record(z.string(), SERVICE) })
  .parse(parse(read('docker-compose.yml'), { merge: true }));

/** With the defaults of `${NAME:-default}`. */
const environmentOf = (name: string) =>
  Object.fromEntries(
    Object.entries(services[name]?.environment ?? {}).map(([variable, value]) => [
      variable,
      String(value).replaceAll(/\$\{\w+:?-([^}]*)\}/g, '$1'),
    ]),
  );

test('programs know the variables that they are given, and take their values', () => {
  const [proxy, server] = [environmentOf('proxy'), environmentOf('server')];
  const known = new Set<string>(Object.values(OPTIONS).map(({ env }) => env));
  expect(Object.keys(proxy).filter((name) => !known.has(name))).toEqual([]);
  expect(parseConfig([], proxy)).toMatchObject({ kind: 'config', config: { holdSeconds: 40, trustProxy: 1 } });
  expect(Object.keys(server).filter((name) => !DEMO_VARIABLES.includes(name))).toEqual([]);
  expect(parseDemoConfig(server)).toMatchObject({ kind: 'config' });
});

test('the images are ours, or one of those that are named elsewhere', () => {
  const foreign = Object.values(services).flatMap(({ image }) => (image.startsWith('mcp-affinity/') ? [] : [image]));
  expect(foreign).toEqual([
    'valkey/valkey:8.1',
    'prom/prometheus:v3.5.0',
    expect.stringMatching(/^grafana\/grafana:[\d.]+$/),
  ]);
  const bases = [...read('Dockerfile').matchAll(/^FROM (?:--\S+ )?(\S+)/gm)].map(([, base]) => base);
  expect(new Set(bases.filter((base) => base?.includes(':')))).toEqual(new Set(['node:24-trixie-slim']));
});

test('three servers and two proxies', () => {
  expect([services['server'], services['proxy']].map((service) => service?.deploy.replicas)).toEqual([3, 2]);
});

test('every service that stays is checked, or its image is, and has time to stop', () => {
  const staying = Object.entries(services).filter(([name]) => name !== 'probe');
  const checked = ({ build, healthcheck }: z.infer<typeof SERVICE>) =>
    healthcheck?.test !== undefined || (healthcheck !== undefined && ['proxy', 'server'].includes(build?.target ?? ''));
  expect(staying.filter(([, service]) => !checked(service)).map(([name]) => name)).toEqual([]);
  expect(staying.filter(([, service]) => service.stop_grace_period === undefined).map(([name]) => name)).toEqual([]);
  for (const name of ['proxy', 'server']) {
    const grace = Number(services[name]?.stop_grace_period?.replace('s', ''));
    expect(grace).toBeGreaterThanOrEqual(Number(environmentOf(name)['DRAIN_SECONDS']) + 5);
  }
});

test('of the host they get files of configuration only, to read, and ports of loopback', () => {
  const all = Object.values(services);
  const paths = all.flatMap(({ volumes }) => volumes.filter((volume) => /^[./~]/.test(volume)));
  expect(paths.filter((path) => !/^\.\/observability\/\S+:ro$/.test(path))).toEqual([]);
  const ports = all.flatMap((service) => service.ports.map((port) => port.replaceAll(/\$\{\w+:?-([^}]*)\}/g, '$1')));
  expect(ports.filter((port) => !port.startsWith('127.0.0.1:'))).toEqual([]);
});
