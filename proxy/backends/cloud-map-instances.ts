/** Reads what AWS Cloud Map says of its instances into members. */

import { isIPv4, isIPv6 } from 'node:net';
import type { Member } from './members.ts';

/** One instance as DiscoverInstances names it. */
export type Instance = {
  readonly id: string;
  /** HEALTHY, UNHEALTHY, or UNKNOWN where the service has no checks. */
  readonly health: string;
  readonly attributes: Readonly<Record<string, string>>;
};

export type Read = {
  readonly members: readonly Member[];
  /** Why the first of those that are left out cannot be used. */
  readonly fault?: string;
};

/** What goes into a header as it is; Cloud Map allows less. */
const ID = /^[!-~]+$/;

/**
 * Backends over plain HTTP, under the instances' own ids. `port` is for those that register none, as ECS does with A
 * records. One that is not well drains, for it lives and holds sessions; where all are not, none does: what Cloud Map
 * calls HEALTHY_OR_ELSE_ALL leaves them out.
 */
export function readInstances(instances: readonly Instance[], port: number | undefined): Read {
  const read = instances.map((instance) => memberOf(instance, port));
  const members = read.filter((one) => typeof one !== 'string');
  const fault = read.find((one) => typeof one === 'string');
  const someWell = members.some(({ draining }) => !draining);
  return {
    members: someWell ? members : members.map(serving),
    ...(fault !== undefined && { fault }),
  };
}

function serving(member: Member): Member {
  return { ...member, draining: false };
}

/** The member, or why there is none. */
function memberOf({ id, health, attributes }: Instance, fallback: number | undefined): Member | string {
  const name = `the Cloud Map instance ${JSON.stringify(id)}`;
  const { AWS_INSTANCE_PORT: said, AVAILABILITY_ZONE: zone } = attributes;
  const host = hostOf(attributes);
  const port = said === undefined ? fallback : Number(said);
  if (!ID.test(id)) return `${name} has an id that no header can carry`;
  if (host === undefined) return `${name} has no address in AWS_INSTANCE_IPV4 or AWS_INSTANCE_IPV6`;
  if (port === undefined) return `${name} has no AWS_INSTANCE_PORT: give the port as --backend-port or BACKEND_PORT`;
  if (!/^\d+$/.test(said ?? '0') || port < 1 || port > 65_535) return `${name} has the AWS_INSTANCE_PORT "${said}"`;
  return { id, origin: `http://${host}:${port}`, ...(zone && { zone }), draining: health === 'UNHEALTHY' };
}

function hostOf({
  AWS_INSTANCE_IPV4: v4 = '',
  AWS_INSTANCE_IPV6: v6 = '',
}: Instance['attributes']): string | undefined {
  if (isIPv4(v4)) return v4;
  // As URLs write it: an address may have a zone, and be written in many ways.
  return isIPv6(v6) && URL.canParse(`http://[${v6}]`) ? new URL(`http://[${v6}]`).hostname : undefined;
}

/**
 * Of several at one address, who came last: an address is given away only when its task is gone, and what it registered
 * may stay for a while. Who is seen for the first time together stays together. Call it with each answer in order.
 */
export function newestAtEach(): (members: readonly Member[]) => readonly Member[] {
  let came: ReadonlyMap<string, number> = new Map();
  let round = 0;
  return (members) => {
    round += 1;
    const key = ({ id, origin }: Member): string => `${id} ${origin}`;
    came = new Map(members.map((member) => [key(member), came.get(key(member)) ?? round]));
    const cameLast = new Map<string, number>();
    for (const one of members) {
      cameLast.set(one.origin, Math.max(cameLast.get(one.origin) ?? 0, came.get(key(one)) ?? round));
    }
    return members.filter((one) => came.get(key(one)) === cameLast.get(one.origin));
  };
}
