/** Says which task this process is, and which release it runs. */

import { hostname } from 'node:os';

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * The id of the task that this process runs in, in this order: `TASK_ID`, for whoever names tasks himself; on ECS the
 * last part of the task's ARN, as the task metadata endpoint version 4 says (`$ECS_CONTAINER_METADATA_URI_V4/task`);
 * else the host name and process id, as in `web-1-4711`. Never throws: an endpoint that does not answer within
 * `timeoutMs` (1000), or answers anything else, counts as none.
 */
export async function findTaskId(env: Environment = process.env, timeoutMs = 1000): Promise<string> {
  const named = env['TASK_ID'];
  if (named) return named;
  const metadata = env['ECS_CONTAINER_METADATA_URI_V4'];
  const task = metadata ? await askEcs(metadata, timeoutMs) : {};
  const arn = 'TaskARN' in task && typeof task.TaskARN === 'string' ? task.TaskARN : '';
  return arn.split('/').at(-1) || `${hostname()}-${process.pid}`;
}

/**
 * Which release this task runs: `TASK_RELEASE`, for whoever numbers releases himself; on ECS the revision of its task
 * definition, as the task metadata endpoint version 4 says; else undefined, as for anything that is no whole number up
 * to 999,999,999. Never throws: an endpoint that does not answer within `timeoutMs` (1000) says nothing.
 */
export async function findRelease(env: Environment = process.env, timeoutMs = 1000): Promise<number | undefined> {
  const numbered = env['TASK_RELEASE'];
  const metadata = env['ECS_CONTAINER_METADATA_URI_V4'];
  const task = !numbered && metadata ? await askEcs(metadata, timeoutMs) : {};
  const said = numbered || ('Revision' in task ? String(task.Revision) : '');
  return /^\d{1,9}$/.test(said) ? Number(said) : undefined;
}

/** What the endpoint says of the task; empty where it says nothing in time, or nothing that can be read. */
async function askEcs(metadata: string, timeoutMs: number): Promise<object> {
  try {
    const answer = await fetch(`${metadata}/task`, { signal: AbortSignal.timeout(timeoutMs) });
    const task: unknown = answer.ok ? await answer.json() : {};
    return typeof task === 'object' && task !== null ? task : {};
  } catch {
    // The host name will do.
    return {};
  }
}
