/** The fields of a client's request once they are past the door: they speak in nobody's name but their own. */
import type { IncomingMessage } from 'node:http';
import { HEADER } from './contract.ts';
import type { RawHeaders } from './contract.ts';
import { withForwarding } from './forwarded.ts';
import { clientHeaders, endToEnd } from './headers.ts';
import { passedBy } from './loops.ts';

/** Without a client's `Mcp-Affinity-*` but what proxies of ours say of the way, and with forwarding fields of ours; `hops` of the client's own are believed. */
export function incomingHeaders(request: IncomingMessage, hops: number): RawHeaders {
  const { socket, headers, rawHeaders } = request;
  const scheme = 'encrypted' in socket ? 'https' : 'http';
  const seen = { peer: socket.remoteAddress, scheme, host: headers.host } as const;
  const fields = withForwarding(clientHeaders(rawHeaders), seen, hops);
  const passed = passedBy(headers[HEADER.affinityVia]);
  return passed.length === 0 ? fields : [...fields, HEADER.affinityVia, passed.join(', ')];
}

/** The end-to-end ones as Node takes them, by lower-case name; a field that came more than once is a list. */
export function passedHeaders(request: IncomingMessage, hops: number): Record<string, string | string[]> {
  const flat = endToEnd(incomingHeaders(request, hops));
  const fields = new Map<string, string[]>();
  for (let at = 0; at + 1 < flat.length; at += 2) {
    const name = flat[at]?.toLowerCase() ?? '';
    const value = flat[at + 1] ?? '';
    const values = fields.get(name);
    if (values === undefined) fields.set(name, [value]);
    else values.push(value);
  }
  return Object.fromEntries(
    [...fields].map(([name, values]) => [name, values.length === 1 ? (values[0] ?? '') : values]),
  );
}
