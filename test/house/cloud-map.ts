/** An AWS Cloud Map of one service, on a free port, that speaks its wire format (awsJson1_1) and misbehaves on demand. */

import { type IncomingMessage, type ServerResponse, createServer } from 'node:http';
import { json } from 'node:stream/consumers';
import { setTimeout as delay } from 'node:timers/promises';
import { z } from 'zod';
import { soon, until } from './until.ts';

export const NAMESPACE = 'mcp.test';
export const SERVICE = 'server';

/**
 * What becomes of each question: refused as one too many, or as forbidden; an error of the server's; a connection hung
 * up on; no answer at all; an answer without instances.
 */
export type Trouble = 'throttled' | 'denied' | 'failing' | 'hung up' | 'silent' | 'empty';

export type TestCloudMap = {
  /** What the SDK is to find in the environment. */
  readonly env: Readonly<Record<string, string>>;
  /** With the attributes that ECS registers for `origin`, and these; of an id that is there, instead. */
  register(id: string, origin: string, attributes?: Readonly<Record<string, string | undefined>>): void;
  deregister(id: string): void;
  /** Leaves the revision as it is. */
  setHealth(id: string, health: 'HEALTHY' | 'UNHEALTHY'): void;
  /** From now on, until it is called without one; `ms` is how long an answer takes. */
  trouble(trouble?: Trouble, ms?: number): void;
  /** Questions so far, in order. */
  readonly asked: readonly ('revision' | 'instances')[];
  /** Resolves when this many more questions have come. */
  next(questions?: number): Promise<void>;
  close(): Promise<void>;
};

type Instance = { health: string; readonly attributes: Readonly<Record<string, string | undefined>> };
type Answer = { readonly status: number; readonly body: object };

const TARGET = 'Route53AutoNaming_v20170314.';
const QUESTION = z.strictObject({
  NamespaceName: z.string(),
  ServiceName: z.string(),
  MaxResults: z.int().min(1).max(1000).default(100),
  HealthStatus: z.enum(['HEALTHY', 'UNHEALTHY', 'ALL', 'HEALTHY_OR_ELSE_ALL']).default('HEALTHY_OR_ELSE_ALL'),
});
type Question = z.infer<typeof QUESTION>;

export async function startCloudMap(): Promise<TestCloudMap> {
  const instances = new Map<string, Instance>();
  const asked: ('revision' | 'instances')[] = [];
  let revision = 1;
  let trouble: Trouble | undefined;
  let slowMs = 0;

  function answer(request: IncomingMessage, body: unknown): Answer {
    const { 'x-amz-target': target = '', authorization = '', host = '', 'content-type': type } = request.headers;
    if (!/Credential=\w+\/\d+\/eu-test-1\/servicediscovery\//.test(authorization))
      return refused(403, 'InvalidSignature');
    if (type !== 'application/x-amz-json-1.1' || host.startsWith('data-'))
      return refused(400, 'SerializationException');
    const question = QUESTION.safeParse(body);
    if (!question.success) return refused(400, 'InvalidInput');
    const { NamespaceName: namespace, ServiceName: service } = question.data;
    asked.push(target === `${TARGET}DiscoverInstances` ? 'instances' : 'revision');
    if (trouble === 'throttled') return refused(400, 'RequestLimitExceeded');
    if (trouble === 'denied') return refused(400, 'AccessDeniedException');
    if (trouble === 'failing') return refused(500, 'InternalFailure');
    if (namespace !== NAMESPACE) return refused(400, 'NamespaceNotFound');
    if (service !== SERVICE) return refused(400, 'ServiceNotFound');
    if (target === `${TARGET}DiscoverInstancesRevision`) return { status: 200, body: { InstancesRevision: revision } };
    const found = trouble === 'empty' ? [] : discovered(instances, question.data);
    return { status: 200, body: { Instances: found, InstancesRevision: revision } };
  }
  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { status, body } = answer(request, await json(request));
    if (trouble === 'silent') return;
    if (trouble === 'hung up') return void request.socket.destroy();
    if (slowMs > 0) await delay(slowMs);
    response.writeHead(status, { 'content-type': 'application/x-amz-json-1.1' }).end(JSON.stringify(body));
  }
  const server = createServer((request, response) => void serve(request, response));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;

  return {
    env: {
      AWS_ENDPOINT_URL_SERVICEDISCOVERY: `http://localhost:${port}`,
      AWS_REGION: 'eu-test-1',
      AWS_ACCESS_KEY_ID: 'test',
      AWS_SECRET_ACCESS_KEY: 'test',
      AWS_CONFIG_FILE: '/dev/null',
      AWS_SHARED_CREDENTIALS_FILE: '/dev/null',
    },
    register(id, origin, attributes = {}) {
      instances.set(id, { health: 'HEALTHY', attributes: { ...attributesOf(origin), ...attributes } });
      revision += 1;
    },
    deregister(id) {
      instances.delete(id);
      revision += 1;
    },
    setHealth(id, health) {
      const instance = instances.get(id);
      if (!instance) throw new Error(`No instance is named ${id}`);
      instance.health = health;
    },
    trouble(kind, ms = 0) {
      trouble = kind;
      slowMs = ms;
    },
    asked,
    async next(questions = 1) {
      const before = asked.length;
      await until(`${questions} questions have come`, () => asked.length >= before + questions);
    },
    async close() {
      server.closeAllConnections();
      await soon('the end of Cloud Map', new Promise<void>((resolve) => server.close(() => resolve())));
    },
  };
}

function refused(status: number, name: string): Answer {
  return { status, body: { __type: name, Message: `${name} it is` } };
}

/** In random order, as Cloud Map has it. */
function discovered(
  instances: ReadonlyMap<string, Instance>,
  { HealthStatus, MaxResults }: Question,
): readonly object[] {
  const all = [...instances].map(([id, { health, attributes }]) => ({
    InstanceId: id,
    NamespaceName: NAMESPACE,
    ServiceName: SERVICE,
    HealthStatus: health,
    Attributes: attributes,
  }));
  const healthy = all.filter((one) => one.HealthStatus === 'HEALTHY');
  const left = {
    ALL: all,
    HEALTHY: healthy,
    UNHEALTHY: all.filter((one) => !healthy.includes(one)),
    HEALTHY_OR_ELSE_ALL: healthy.length > 0 ? healthy : all,
  }[HealthStatus];
  const shuffled = left.map((one) => ({ one, at: Math.random() })).toSorted((a, b) => a.at - b.at);
  return shuffled.slice(0, MaxResults).map(({ one }) => one);
}

/** As an ECS service registers its tasks; `AWS_INSTANCE_PORT` only with SRV records. */
function attributesOf(origin: string): Readonly<Record<string, string>> {
  const { hostname, port } = new URL(origin);
  return {
    AWS_INSTANCE_IPV4: hostname,
    AWS_INSTANCE_PORT: port,
    AVAILABILITY_ZONE: 'eu-test-1a',
    ECS_CLUSTER_NAME: 'test',
    ECS_SERVICE_NAME: 'server',
    ECS_TASK_DEFINITION_FAMILY: 'server',
  };
}
