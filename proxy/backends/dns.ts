/** Backends by DNS: the addresses behind a name, or the targets of an SRV name, asked for again and again. */

import dns from 'node:dns';
import type { SrvRecord } from 'node:dns';
import { isIPv6 } from 'node:net';
import type { Answer, Asked } from './answers.ts';
import type { Member } from './members.ts';
import { type Question, askTogether, newQuestion } from './asking.ts';
import { type AskedBackends, type Round, type RoundsOptions, askedBackends } from './rounds.ts';

/** The questions, as Node's `dns.promises.Resolver` answers them. */
export type Lookup = {
  resolve4(name: string, options: { ttl: true }): Promise<readonly AddressRecord[]>;
  resolve6(name: string, options: { ttl: true }): Promise<readonly AddressRecord[]>;
  resolveSrv(name: string): Promise<readonly SrvRecord[]>;
};
/** `ttl` in seconds. */
type AddressRecord = { readonly address: string; readonly ttl: number };

export type DnsOptions = RoundsOptions & {
  /** Asked for as it is: neither search domains nor `/etc/hosts` are used. */
  readonly name: string;
  /** Of the backends at A and AAAA records; undefined asks for SRV records, which bring their own. */
  readonly port: number | undefined;
  /** Node's resolver at the servers of `dns.getServers()` by default. */
  readonly lookup?: Lookup;
};

/** A try at one server; two of them are made. The resolver's own 5 s, four times, are longer than a client waits. */
const TRY_MS = 1000;
const TRIES = 2;

/**
 * A backend's id is its `address:port`, its origin `http://address:port`. While DNS cannot be asked the last good list
 * stays; a name that names nobody is believed the third time in a row. Never throws.
 */
export function dnsBackends(options: DnsOptions): AskedBackends {
  return askedBackends(createRounds(options), options);
}

function createRounds({ name, port, lookup = systemLookup() }: DnsOptions): Round {
  return port === undefined ? srvRounds(lookup, name) : hostRounds(newHost(lookup, name), port);
}

function systemLookup(): Lookup {
  const resolver = new dns.promises.Resolver({ timeout: TRY_MS, tries: TRIES, maxTimeout: TRY_MS });
  // It begins with the system's servers, not with what dns.setServers has set; the named import would not see that either.
  const servers = dns.getServers();
  // Not without need: a link-local server of the system, which has a zone, is refused here.
  if (servers.join() !== resolver.getServers().join()) resolver.setServers(servers);
  return resolver;
}

/** Both families of a name; each keeps its own last answer, so that one that fails takes nothing from the other. */
type Host = readonly Question<string>[];

function newHost(lookup: Lookup, name: string): Host {
  return [
    newQuestion(async () => addresses(await lookup.resolve4(name, { ttl: true }))),
    newQuestion(async () => addresses(await lookup.resolve6(name, { ttl: true }))),
  ];
}

function hostRounds(host: Host, port: number): Round {
  const known = (): Asked<Member> => membersAt(host, [port]);
  return async (late) => {
    await askTogether(host, () => late(known()));
    return known();
  };
}

/** Of each address a member at each port. */
function membersAt(host: Host, ports: Iterable<number>): Asked<Member> {
  const all = merged(host.map((family) => family.last()));
  return { ...all, records: [...ports].flatMap((port) => all.records.map((address) => member(address, port))) };
}

/**
 * SRV records (RFC 2782): the targets of the lowest priority that has any address. Weights are passed over: sessions are
 * balanced by count.
 */
function srvRounds(lookup: Lookup, name: string): Round {
  const srv = newQuestion(async () => there(await lookup.resolveSrv(name)));
  let hosts: ReadonlyMap<string, Host> = new Map();
  let targets: readonly Target[] = [];

  function known(): Asked<Member> {
    const asked = srv.last();
    const all = merged(targets.map(({ host, ports }) => membersAt(host, ports)));
    if (asked.heard) return all;
    return { ...all, heard: false, ...(asked.cause !== undefined && { cause: asked.cause }) };
  }
  return async (tell) => {
    const late = (): void => tell(known());
    // Not one after the other: where the records are late, their last targets are asked all the same.
    await askTogether([srv, ...[...hosts.values()].flat()], late);
    const { records } = srv.last();
    const old = new Set(hosts.values());
    const somebody = records.some(({ name: at }) => hasAddress(hosts.get(at)));
    const asked = new Map<string, Host>();
    let chosen: readonly Target[] | undefined;
    for (const portsByHost of byPriority(records)) {
      const level = [...portsByHost].map(([at, ports]): Target => {
        const host = asked.get(at) ?? hosts.get(at) ?? newHost(lookup, at);
        asked.set(at, host);
        return { host, ports };
      });
      const anew = level.flatMap(({ host }) => (old.has(host) ? [] : host));
      await askTogether(anew, late, somebody);
      const answers = level.some(({ host }) => hasAddress(host));
      if (answers || chosen === undefined) chosen = level;
      if (answers) break;
    }
    hosts = asked;
    targets = chosen ?? [];
    return known();
  };
}

type Target = { readonly host: Host; readonly ports: Iterable<number> };

function hasAddress(host: Host = []): boolean {
  return host.some((family) => family.last().records.length > 0);
}

/** Ports by host, for each priority, the lowest first. */
function byPriority(records: readonly SrvRecord[]): readonly ReadonlyMap<string, ReadonlySet<number>>[] {
  const priorities = new Set(records.map(({ priority }) => priority));
  return [...priorities]
    .toSorted((one, other) => one - other)
    .map((wanted) => {
      const ports = new Map<string, Set<number>>();
      for (const { name, port, priority } of records) {
        if (priority === wanted) ports.set(name, (ports.get(name) ?? new Set()).add(port));
      }
      return ports;
    });
}

/** Node does not tell the TTL of SRV records. */
function there(records: readonly SrvRecord[]): Answer<SrvRecord> {
  // "A Target of '.' means that the service is decidedly not available at this domain" (RFC 2782).
  return { records: records.filter(({ name }) => name !== '' && name !== '.'), ttl: Infinity };
}

function addresses(records: readonly AddressRecord[]): Answer<string> {
  return { records: records.map(({ address }) => address), ttl: Math.min(...records.map(({ ttl }) => ttl)) };
}

/** Heard where one was: most names have one family only. */
function merged<T>(all: readonly Asked<T>[]): Asked<T> {
  const cause = all.find((one) => one.cause !== undefined && one.cause !== 'ENODATA')?.cause ?? all[0]?.cause;
  return {
    records: all.flatMap(({ records }) => records),
    ttl: Math.min(...all.map(({ ttl }) => ttl)),
    heard: all.some(({ heard }) => heard),
    ...(cause !== undefined && { cause }),
  };
}

function member(address: string, port: number): Member {
  const id = `${isIPv6(address) ? `[${address}]` : address}:${port}`;
  return { id, origin: `http://${id}` };
}
