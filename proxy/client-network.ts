/** Whom a client counts as where clients are told apart by their addresses. Pure. */
import { readAddress } from './addresses.ts';
import type { RawHeaders } from './contract.ts';
import { headerValue } from './headers.ts';

/** Of an IPv6 address, the bits that name a network: whoever has one such address has all of its network. */
const NETWORK_BITS = 64n;

/**
 * The address of the client as far as `--trust-proxy` believes in one, of IPv6 its /64; the fields are those of an exchange,
 * whose `X-Forwarded-For` is ours. Of those whose address is not known, all count as one.
 */
export function clientNetwork(headers: RawHeaders): string {
  const [client = ''] = headerValue(headers, 'x-forwarded-for')?.split(',', 1) ?? [];
  const address = readAddress(client.trim());
  if (address === undefined) return 'unknown';
  const { bits, length } = address;
  return `${length} ${(length === 128 ? bits >> NETWORK_BITS : bits).toString(16)}`;
}
