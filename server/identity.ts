/** Says which task this process is. */

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
  const onEcs = metadata ? await askEcs(metadata, timeoutMs) : undefined;
  return onEcs ?? `${hostname()}-${process.pid}`;
}

async function askEcs(metadata: string, timeoutMs: number): Promise<string | undefined> {
  try {
    const answer = await fetch(`${metadata}/task`, { signal: AbortSignal.timeout(timeoutMs) });
    if (!answer.ok) return undefined;
    const task: unknown = await answer.json();
    if (typeof task !== 'object' || task === null || !('TaskARN' in task)) return undefined;
    return typeof task.TaskARN === 'string' ? task.TaskARN.split('/').at(-1) || undefined : undefined;
  } catch {
    // No answer in time, or none that can be read: the host name will do.
    return undefined;
  }
}
