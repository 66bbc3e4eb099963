/** Whom a client counts as where clients are told apart by their addresses. Pure. */
import { networkOf } from './addresses.ts';
import type { RawHeaders } from './contract.ts';
import { headerValue } from './headers.ts';

/**
 * The address of the client as far as `--trust-proxy` believes in one, of IPv6 its /64; the fields are those of an exchange,
 * whose `X-Forwarded-For` is ours. Of those whose address is not known, all count as one.
 */
export function clientNetwork(headers: RawHeaders): string {
  const [client = ''] = headerValue(headers, 'x-forwarded-for')?.split(',', 1) ?? [];
  return networkOf(client.trim()) ?? 'unknown';
}
