/** Where a connection to an origin is made. Pure. */

/** `host`: an IPv6 address without its brackets. `port`: the scheme's own where none is named. Throws for what is no URL. */
export function endpointOf(origin: string): { readonly host: string; readonly port: number } {
  const { hostname, port, protocol } = new URL(origin);
  return { host: hostname.replaceAll(/[[\]]/g, ''), port: Number(port || (protocol === 'https:' ? 443 : 80)) };
}
