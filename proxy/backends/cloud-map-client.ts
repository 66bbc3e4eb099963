/** Asks AWS Cloud Map through the AWS SDK, and says what to do where it refuses. */

import type { HttpInstanceSummary } from '@aws-sdk/client-servicediscovery';
import type { Instance } from './cloud-map-instances.ts';
import type { CloudMap } from './cloud-map.ts';

/** As DiscoverInstances takes them: the namespace's HTTP name or ARN, the service's name. */
export type CloudMapService = { readonly namespace: string; readonly service: string };

export type ClientOptions = {
  /** For one try to connect, and for one try's answer; there are three tries. Milliseconds; 1,000 and 2,000 by default. */
  readonly connectMs?: number;
  readonly answerMs?: number;
  /** For all tries of one question, in milliseconds; 5,000 by default. */
  readonly questionMs?: number;
};

type Environment = Readonly<Record<string, string | undefined>>;

/** The most that DiscoverInstances tells of; there is no second page. */
const MOST_INSTANCES = 1000;

/**
 * Region and credentials are found as by all AWS SDKs; an endpoint in `AWS_ENDPOINT_URL_SERVICEDISCOVERY` or
 * `AWS_ENDPOINT_URL` is used as it is, where AWS's own has a `data-` before its host. Loads the SDK at the first question.
 */
export function askCloudMap(
  about: CloudMapService,
  options: ClientOptions = {},
  env: Environment = process.env,
): CloudMap {
  const { questionMs = 5_000 } = options;
  const closing = new AbortController();
  const names = { NamespaceName: about.namespace, ServiceName: about.service };
  let opened: Promise<Opened> | undefined;

  async function ask<T>(question: (opened: Opened, options: { abortSignal: AbortSignal }) => Promise<T>): Promise<T> {
    const late = AbortSignal.timeout(questionMs);
    try {
      opened ??= open(options, env);
      return await question(await opened, { abortSignal: AbortSignal.any([late, closing.signal]) });
    } catch (error) {
      const what = late.aborted ? `no answer in ${questionMs} ms` : explain(error, about);
      throw new Error(`Cloud Map: ${what}`, { cause: error });
    }
  }

  return {
    revision: () =>
      ask(async ({ sdk, client }, send) => {
        const answer = await client.send(new sdk.DiscoverInstancesRevisionCommand(names), send);
        return answer.InstancesRevision;
      }),
    instances: () =>
      ask(async ({ sdk, client }, send) => {
        const all = { ...names, HealthStatus: sdk.HealthStatusFilter.ALL, MaxResults: MOST_INSTANCES };
        const answer = await client.send(new sdk.DiscoverInstancesCommand(all), send);
        return { instances: (answer.Instances ?? []).map(asInstance), revision: answer.InstancesRevision };
      }),
    close() {
      closing.abort();
      opened?.then(
        ({ client }) => client.destroy(),
        () => {},
      );
    },
  };
}

type Opened = Awaited<ReturnType<typeof open>>;

async function open({ connectMs = 1_000, answerMs = 2_000 }: ClientOptions, env: Environment) {
  const sdk = await import('@aws-sdk/client-servicediscovery');
  const client = new sdk.ServiceDiscoveryClient({
    disableHostPrefix: Boolean(env['AWS_ENDPOINT_URL_SERVICEDISCOVERY'] || env['AWS_ENDPOINT_URL']),
    requestHandler: { connectionTimeout: connectMs, requestTimeout: answerMs, throwOnRequestTimeout: true },
  });
  return { sdk, client };
}

function asInstance({ InstanceId, HealthStatus, Attributes }: HttpInstanceSummary): Instance {
  return { id: InstanceId ?? '', health: HealthStatus ?? 'UNKNOWN', attributes: Attributes ?? {} };
}

/** In a sentence, with the value that is wrong and where to set it right. */
function explain(error: unknown, { namespace, service }: CloudMapService): string {
  if (!(error instanceof Error)) return String(error);
  const set = 'check --cloud-map (CLOUD_MAP_SERVICE)';
  switch (error.name) {
    case 'NamespaceNotFound':
      return `there is no namespace ${JSON.stringify(namespace)} in this region and account, ${set} and AWS_REGION`;
    case 'ServiceNotFound':
      return `there is no service ${JSON.stringify(service)} in the namespace ${JSON.stringify(namespace)}, ${set}`;
    case 'InvalidInput':
      return `${JSON.stringify(`${namespace}/${service}`)} is not taken (${error.message}), ${set}`;
    case 'AccessDeniedException':
      return `${error.message}: allow servicediscovery:DiscoverInstances and servicediscovery:DiscoverInstancesRevision`;
    case 'CredentialsProviderError':
      return `no credentials (${error.message}): give the task a role, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY`;
    default:
      if (/^Region (is missing|not accepted)/.test(error.message)) return 'no region: set AWS_REGION';
      return 'code' in error && typeof error.code === 'string' ? error.code : `${error.name}: ${error.message}`;
  }
}
