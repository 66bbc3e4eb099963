/** The availability zone that this proxy runs in, as Amazon ECS tells its tasks. */

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * `AvailabilityZone` of the task metadata endpoint version 4 (`$ECS_CONTAINER_METADATA_URI_V4/task`). Never rejects: an
 * endpoint that is not there, does not answer within `timeoutMs` (1,000), or names none, is quietly no zone.
 */
export async function findOwnZone(env: Environment = process.env, timeoutMs = 1000): Promise<string | undefined> {
  const metadata = env['ECS_CONTAINER_METADATA_URI_V4'];
  if (!metadata) return undefined;
  try {
    const answer = await fetch(`${metadata}/task`, { signal: AbortSignal.timeout(timeoutMs) });
    const task: unknown = await answer.json();
    if (!answer.ok || typeof task !== 'object' || task === null || !('AvailabilityZone' in task)) return undefined;
    return typeof task.AvailabilityZone === 'string' ? task.AvailabilityZone || undefined : undefined;
  } catch {
    return undefined;
  }
}
