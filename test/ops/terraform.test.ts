/** What Terraform deploys fits what the programs know: variables, timeouts, log lines, health checks. */

import { execFile } from 'node:child_process';
import { createServer } from 'node:http';
import { promisify } from 'node:util';
import { beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { parseConfig } from '../../proxy/config.ts';
import type { RoutingEvent } from '../../proxy/events.ts';
import { OPTIONS } from '../../proxy/options.ts';
import { createLog } from '../../proxy/telemetry/log.ts';
import { DEMO_VARIABLES, parseDemoConfig } from '../../server/demo/config.ts';
import { type Resource, TERRAFORM_MS, planDeployment } from '../house/terraform.ts';

const CONTAINER = z.object({
  name: z.string(),
  environment: z.array(z.object({ name: z.string(), value: z.string() })),
  secrets: z.array(z.object({ name: z.string(), valueFrom: z.string() })),
  healthCheck: z.object({ command: z.tuple([z.literal('CMD'), z.literal('node'), z.literal('-e'), z.string()]) }),
});
type Container = z.infer<typeof CONTAINER>;

const REDIS_URL = 'rediss://:token@registry.example:6379';

let resources: readonly Resource[] = [];
let missing: string | undefined;

beforeAll(async () => {
  const planned = await planDeployment();
  if (planned.kind === 'none') missing = planned.why;
  else ({ resources } = planned);
}, TERRAFORM_MS);

const of = (type: string) => resources.filter((one) => one.type === type);

function containers(): { proxy: Container; server: Container } {
  const all = of('aws_ecs_task_definition').map(({ values }) => {
    const definitions: unknown = JSON.parse(z.string().parse(values['container_definitions']));
    return z.tuple([CONTAINER]).parse(definitions)[0];
  });
  const named = (suffix: string) => CONTAINER.parse(all.find(({ name }) => name.endsWith(suffix)));
  return { proxy: named('-proxy'), server: named('-server') };
}

const environmentOf = ({ environment }: Container) =>
  Object.fromEntries(environment.map(({ name, value }) => [name, value]));

const unknownTo = (known: readonly string[], container: Container) =>
  [...container.environment, ...container.secrets].map(({ name }) => name).filter((name) => !known.includes(name));

describe('variables', () => {
  test('the proxy knows each one that it is given, and takes its value', ({ skip }) => {
    if (missing !== undefined) return skip(missing);
    const { proxy } = containers();
    const known = Object.values(OPTIONS).map(({ env }): string => env);
    expect(unknownTo(known, proxy)).toEqual([]);
    expect(parseConfig([], { ...environmentOf(proxy), REDIS_URL })).toMatchObject({ kind: 'config' });
  });

  test('so does the sample server', ({ skip }) => {
    if (missing !== undefined) return skip(missing);
    const { server } = containers();
    expect(unknownTo(DEMO_VARIABLES, server)).toEqual([]);
    expect(parseDemoConfig({ ...environmentOf(server), REDIS_URL })).toMatchObject({ kind: 'config' });
  });
});

test('the proxy keeps idle connections longer than the load balancer', ({ skip }) => {
  if (missing !== undefined) return skip(missing);
  const timeouts = of('aws_lb').map(({ values }) => Number(values['idle_timeout']) * 1000);
  expect(timeouts).toHaveLength(1);
  for (const timeout of timeouts) expect(timeout).toBeLessThan(Number(OPTIONS.keepAliveSeconds.fallback) * 1000);
});

test('addresses may connect to the load balancer alone', ({ skip }) => {
  if (missing !== undefined) return skip(missing);
  const rules = of('aws_vpc_security_group_ingress_rule');
  const [fromGroups, fromElsewhere] = [true, false].map((group) =>
    rules.filter(({ values }) => (typeof values['referenced_security_group_id'] === 'string') === group),
  );
  expect(fromGroups?.map(({ address }) => address.split('.')[1]).toSorted()).toEqual([
    'proxy',
    'proxy',
    'registry',
    'registry',
    'server',
  ]);
  expect(fromElsewhere?.map(({ address }) => address.split('.')[1])).toEqual(['load_balancer', 'load_balancer']);
  const inline = of('aws_security_group').flatMap(({ values }) => z.array(z.unknown()).parse(values['ingress'] ?? []));
  expect(inline).toEqual([]);
});

describe('log lines that are counted', () => {
  const migration = { type: 'migration', reason: 'crash', session: 's', from: 'a', to: 'b', seconds: 1 } as const;
  const counted: readonly (readonly [string, RoutingEvent])[] = [
    ['MigrationsFailed', { ...migration, outcome: 'failed' }],
    ['MigrationsFailed', { ...migration, outcome: 'unavailable' }],
    ['MigrationsFailed', { ...migration, outcome: 'incompatible' }],
    ['RegistryDown', { type: 'registry', state: 'down' }],
    ['DiscoveryDown', { type: 'discovery', state: 'down', cause: 'throttled', since: 0 }],
    ['Faults', { type: 'fault', error: new Error('a bug') }],
  ];
  const others: readonly RoutingEvent[] = [
    { ...migration, outcome: 'migrated' },
    { ...migration, outcome: 'raced' },
    { type: 'registry', state: 'up' },
    { type: 'discovery', state: 'up' },
    { type: 'stopped', clean: true },
  ];
  const counting = (event: RoutingEvent) => {
    const line = lineOf(event);
    return of('aws_cloudwatch_log_metric_filter')
      .filter(({ values }) => matches(z.string().parse(values['pattern']), line))
      .map(({ values }) => `${String(values['name'])} ${weightOf(values['metric_transformation'], line)}`);
  };

  test('are those of trouble, one metric for each', ({ skip }) => {
    if (missing !== undefined) return skip(missing);
    expect(counted.map(([, event]) => counting(event))).toEqual(counted.map(([name]) => [`${name} 1`]));
    expect(others.flatMap(counting)).toEqual([]);
  });
});

/** As a proxy writes it, at the level that Terraform leaves as it is. */
function lineOf(event: RoutingEvent): Readonly<Record<string, unknown>> {
  const lines: string[] = [];
  const log = createLog({ level: 'info', destination: { write: (line) => void lines.push(line) }, listens: true });
  log.record({ type: 'listening', port: 1, opsPort: 2, path: '/mcp', backends: [] });
  log.record(event);
  return z.record(z.string(), z.unknown()).parse(JSON.parse(lines.at(-1) ?? ''));
}

/** What a line adds to its metric. */
function weightOf(transformation: unknown, line: Readonly<Record<string, unknown>>): number {
  const [{ value }] = z.tuple([z.object({ value: z.string() })]).parse(transformation);
  return Number(value.startsWith('$.') ? line[value.slice(2)] : value);
}

/** CloudWatch's filter patterns for JSON, as far as ours go: words or expressions that all must be met. */
function matches(pattern: string, line: Readonly<Record<string, unknown>>): boolean {
  return pattern
    .replace(/^\{ | \}$/g, '')
    .split(' && ')
    .every((term) => {
      const [, field, word, expression] = /^\$\.(\w+) = (?:"(\w+)"|%([^%]+)%)$/.exec(term) ?? [];
      if (field === undefined) throw new Error(`cannot read ${term}`);
      return expression === undefined ? line[field] === word : new RegExp(expression).test(String(line[field]));
    });
}

describe('health checks, run as the container would', () => {
  test.for([
    ['2xx', 200, 0, ['/healthz', '/health']],
    ['anything else', 503, 1, ['/healthz', '/health']],
    ['nobody there', undefined, 1, []],
  ] as const)('%s', async ([, status, code, asked], { skip }) => {
    if (missing !== undefined) return skip(missing);
    const { proxy, server } = containers();
    const tried = await Promise.all([proxy, server].map(({ healthCheck }) => tryCheck(healthCheck.command[3], status)));
    expect(tried.map(({ exit }) => exit)).toEqual([code, code]);
    expect(tried.flatMap((one) => one.asked)).toEqual(asked);
  });
});

/** The script's exit code, and what it asked, with its port replaced by that of a server which answers `status`. */
async function tryCheck(script: string, status: number | undefined) {
  const asked: string[] = [];
  const server = createServer(({ url }, response) => {
    asked.push(url ?? '');
    response.writeHead(status ?? 500).end();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  const port = typeof address === 'object' && address ? address.port : 0;
  const close = () => new Promise((resolve) => server.close(resolve));
  if (status === undefined) await close();
  const here = script.replace(/127\.0\.0\.1:\d+/, `127.0.0.1:${port}`);
  const exit = await promisify(execFile)(process.execPath, ['-e', here]).then(
    () => 0,
    (error: unknown) => z.object({ code: z.number() }).parse(error).code,
  );
  if (status !== undefined) await close();
  return { exit, asked };
}
