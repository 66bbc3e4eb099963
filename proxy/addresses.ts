/** Addresses that no backend can have, whoever names them, and the proxy's own. Pure. */
import { endpointOf } from './endpoint.ts';

/** What an address is that stands for no server of the network. */
export type Oddity = 'unspecified' | 'loopback' | 'link-local' | 'multicast' | 'broadcast';

/** An address as a number, of so many bits. */
type Address = { readonly bits: bigint; readonly length: 32 | 128 };

/**
 * RFC 6890 and the registries that it began: 0.0.0.0/8 is "this host" to a kernel that connects there. Link-local
 * addresses are where clouds have their metadata services (169.254.169.254, fd00:ec2::254), which hand out credentials.
 */
const RANGES = [
  ['unspecified', '0.0.0.0', 8],
  ['unspecified', '::', 128],
  ['loopback', '127.0.0.0', 8],
  ['loopback', '::1', 128],
  ['link-local', '169.254.0.0', 16],
  ['link-local', 'fe80::', 10],
  ['link-local', 'fd00:ec2::', 32],
  ['multicast', '224.0.0.0', 4],
  ['multicast', 'ff00::', 8],
  ['broadcast', '255.255.255.255', 32],
] as const;

/** Undefined for an address of some host, and for a name. An IPv4 address in an IPv6 one is read as what it is. */
export function oddityOf(host: string): Oddity | undefined {
  const address = readAddress(host);
  if (address === undefined) return undefined;
  return RANGES.find(([, net, prefix]) => isWithin(address, readAddress(net), prefix))?.[0];
}

function isWithin({ bits, length }: Address, net: Address | undefined, prefix: number): boolean {
  const rest = BigInt(length - prefix);
  return net?.length === length && bits >> rest === net.bits >> rest;
}

/** Networks in which the last 32 bits are an IPv4 address: mapped, and translated (RFC 4291, RFC 6052). */
const EMBEDDING = new Set([0xffffn, 0x64_ff9b_0000_0000_0000_0000n]);

/** Undefined for what is no address. An IPv4 address in an IPv6 one is read as what it is. */
function readAddress(host: string): Address | undefined {
  if (!host.includes(':')) return readIPv4(host);
  // A zone says only by which interface.
  const [text = ''] = host.split('%', 1);
  const url = `http://[${text}]`;
  if (!URL.canParse(url)) return undefined;
  const [head = '', tail] = new URL(url).hostname.slice(1, -1).split('::');
  const first = groups(head);
  const last = groups(tail ?? '');
  const all = [...first, ...Array.from({ length: 8 - first.length - last.length }, () => 0n), ...last];
  const bits = all.reduce((sum, group) => (sum << 16n) | group, 0n);
  return EMBEDDING.has(bits >> 32n) ? { bits: bits & 0xffff_ffffn, length: 32 } : { bits, length: 128 };
}

function groups(text: string): readonly bigint[] {
  return text === '' ? [] : text.split(':').map((group) => BigInt(`0x${group}`));
}

function readIPv4(host: string): Address | undefined {
  if (!/^\d{1,3}(\.\d{1,3}){3}$/.test(host)) return undefined;
  const octets = host.split('.').map(Number);
  if (octets.some((octet) => octet > 255)) return undefined;
  return { bits: octets.reduce((sum, octet) => (sum << 8n) | BigInt(octet), 0n), length: 32 };
}

/**
 * What a client counts as where clients are told apart by their addresses: an IPv4 address, or the /64 of an IPv6 one, as
 * whoever has one of these has all of it. Undefined for what is no address.
 */
export function networkOf(address: string): string | undefined {
  const read = readAddress(address);
  if (read === undefined) return undefined;
  const { bits, length } = read;
  return length === 128 ? `${(bits >> 64n).toString(16)}/64` : bits.toString(16);
}

function isSame(one: string, other: string): boolean {
  const [a, b] = [readAddress(one), readAddress(other)];
  return a === undefined || b === undefined ? one === other : a.length === b.length && a.bits === b.bits;
}

/** Where the proxy listens; `port` 0 is one that nobody knows yet. */
export type Listening = { readonly host: string; readonly port: number };

/** The addresses of this machine; asked only where they matter. */
export type MachineAddresses = () => readonly string[];

/** Whether a connection to an origin would come back to where the proxy listens; false where that takes a name to know. */
export function isOwn(origin: string, { host, port }: Listening, machine: MachineAddresses): boolean {
  const to = endpointOf(origin);
  if (port === 0 || to.port !== port) return false;
  const at = addressesOf(to.host);
  if (oddityOf(host) !== 'unspecified') return at.some((one) => addressesOf(host).some((own) => isSame(one, own)));
  return at.some(
    (one) => ['unspecified', 'loopback'].includes(oddityOf(one) ?? '') || machine().some((own) => isSame(one, own)),
  );
}

function addressesOf(host: string): readonly string[] {
  const bare = host.replaceAll(/[[\]]/g, '').toLowerCase();
  return bare === 'localhost' ? ['127.0.0.1', '::1'] : [bare];
}

export type AddressRules = {
  /** Undefined: it listens nowhere itself. */
  readonly listening: Listening | undefined;
  readonly machine: MachineAddresses;
  readonly allowLoopback: boolean;
};

/** Why what discovery has named cannot be a backend; undefined when it can. */
export function addressFault(origin: string, { listening, machine, allowLoopback }: AddressRules): string | undefined {
  if (listening !== undefined && isOwn(origin, listening, machine)) return 'it is where this proxy listens';
  const oddity = oddityOf(endpointOf(origin).host);
  if (oddity === undefined || (oddity === 'loopback' && allowLoopback)) return undefined;
  if (oddity === 'loopback') return 'it is a loopback address, and --allow-loopback is off';
  return `it is ${ARTICLE[oddity]} ${oddity} address`;
}

const ARTICLE = { unspecified: 'an', 'link-local': 'a', multicast: 'a', broadcast: 'a' } as const;
