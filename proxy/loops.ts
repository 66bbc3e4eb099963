/** Loops: every proxy adds itself to a field of the requests that it sends on, and refuses what bears its name. Pure. */
import { HEADER } from './contract.ts';
import type { RawHeaders } from './contract.ts';
import { headerValue } from './headers.ts';

/** Proxies in a row, on purpose or not, whose names a request may bear. */
const MOST_HOPS = 8;
const NAME = /^[\w-]{1,64}$/;

/** A backend's answer says that the request had come back to a proxy that had sent it on: no handler ran. */
export class Looped extends Error {
  override readonly name = 'Looped';
  constructor() {
    super('requests that are sent there come back to this proxy');
  }
}

/** The names of the proxies that have sent the request on, the first one first. `field` is `Mcp-Affinity-Via`. */
export function passedBy(field: string | readonly string[] | undefined): readonly string[] {
  if (field === undefined) return [];
  return [field]
    .flat()
    .flatMap((line) => line.split(','))
    .map((name) => name.trim())
    .filter((name) => NAME.test(name));
}

/** Whether a request has been here before, or at so many proxies that it must be in a loop of others. */
export function isLoop(field: string | readonly string[] | undefined, own: string): boolean {
  if (field === undefined) return false;
  const names = passedBy(field);
  return names.includes(own) || names.length >= MOST_HOPS;
}

/** Whether an answer is a proxy's word that the request has been there before. */
export function saysLoop(status: number | undefined, headers: RawHeaders): boolean {
  return status === 508 && headerValue(headers, HEADER.affinityMark) === 'loop';
}
