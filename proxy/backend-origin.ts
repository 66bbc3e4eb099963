/** Reads the origin of a backend that is named in the configuration. Pure. */
import { oddityOf } from './addresses.ts';
import { endpointOf } from './endpoint.ts';

export const ORIGIN = 'an http:// or https:// origin, as in http://10.0.0.7:3000';

/** An origin and nothing more: a path, a query or credentials there would be silently lost. */
export function readOrigin(
  value: string,
): { readonly kind: 'origin'; readonly origin: string } | { readonly kind: 'fault'; readonly expected: string } {
  const fault = (expected: string) => ({ kind: 'fault', expected }) as const;
  const url = URL.canParse(value) ? new URL(value) : undefined;
  if (!url || !/^https?:$/.test(url.protocol) || !/^([\w.-]+|\[[\d.:a-f]+\])$/.test(url.hostname)) return fault(ORIGIN);
  if (url.username || url.password) return fault('a backend without user and password');
  if (url.pathname !== '/') return fault('a backend without a path (the path is --path, the same for all)');
  if (value.includes('?') || value.includes('#')) return fault('a backend without query and fragment');
  const oddity = oddityOf(endpointOf(value).host);
  // On one machine, loopback is where the backends are.
  if (oddity !== undefined && oddity !== 'loopback')
    return fault(`a backend at the address of a host, no ${oddity} one`);
  return { kind: 'origin', origin: url.origin };
}
