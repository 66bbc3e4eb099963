/** Backends by AWS Cloud Map: the instances of a service, whose revision is asked for often and they themselves at times. */

import { type Asked, rememberAnswer } from './answers.ts';
import { type Instance, newestAtEach, readInstances } from './cloud-map-instances.ts';
import type { Member } from './members.ts';
import { type AskedBackends, type Round, type RoundsOptions, askedBackends } from './rounds.ts';

/** The questions to Cloud Map about one service. Each rejects with an Error whose message an operator can act on. */
export type CloudMap = {
  /** Changes when an instance registers or deregisters; not with its health. */
  revision(): Promise<number | undefined>;
  /** All instances, whatever their health, with the revision that they belong to. */
  instances(): Promise<{ readonly instances: readonly Instance[]; readonly revision: number | undefined }>;
  /** What is being asked rejects. Idempotent. */
  close(): void;
};

export type CloudMapOptions = RoundsOptions & {
  /** Of the instances that register none. */
  readonly port: number | undefined;
  /** How often the instances are asked for though the revision is the same, in milliseconds; 10,000 by default. */
  readonly instancesMs?: number;
  /** Milliseconds that only grow. */
  readonly now?: () => number;
};

const NOBODY = 'no instance is registered in Cloud Map';

/**
 * A backend's id is its instance's, which on ECS is the task's. While Cloud Map cannot be asked the last good list stays;
 * an answer without instances is believed the third time in a row. Closing it closes `cloudMap`. Never throws.
 */
export function cloudMapBackends(cloudMap: CloudMap, options: CloudMapOptions): AskedBackends {
  const backends = askedBackends(createRounds(cloudMap, options), options);
  return {
    ...backends,
    async close() {
      cloudMap.close();
      await backends.close();
    },
  };
}

/** The instances are asked for when they were not heard last time, when it is time, and when the revision has changed. */
function createRounds(
  cloudMap: CloudMap,
  { port, instancesMs = 10_000, now = () => performance.now() }: CloudMapOptions,
): Round {
  const newest = newestAtEach();
  let known: number | undefined;
  let askedAt = -Infinity;
  let last: Asked<Member> = { records: [], ttl: Infinity, heard: false };

  const instances = rememberAnswer<Member>(async () => {
    const answer = await cloudMap.instances();
    const { members, fault } = readInstances(answer.instances, port);
    if (members.length === 0 && fault !== undefined) throw new Error(fault);
    known = answer.revision;
    return { records: newest(members), ttl: Infinity };
  }, NOBODY);

  async function unchanged(): Promise<boolean> {
    const revision = await cloudMap.revision();
    return revision !== undefined && revision === known;
  }
  return async () => {
    try {
      if (last.heard && now() - askedAt < instancesMs && (await unchanged())) return last;
    } catch (error) {
      // Not kept: the instances were heard, and are asked for when it is time.
      return { ...last, heard: false, cause: error instanceof Error ? error.message : String(error) };
    }
    const begun = now();
    last = await instances();
    if (last.heard) askedAt = begun;
    return last;
  };
}
