/** The names that discovery asks for: a DNS name with or without a port, and a service of Cloud Map. Pure. */

export const DNS_NAME =
  'a DNS name with a port, as in mcp.internal:3000, or one with SRV records, as in _mcp._tcp.internal';
export const CLOUD_MAP = 'a Cloud Map namespace and service, as in mcp.local/server';

/** Undefined for what is none. The last label of a host name is no number: that would be an IPv4 address (RFC 3696, section 2). */
export function readDnsName(value: string): { readonly name: string; readonly port: number | undefined } | undefined {
  const [, name = '', port] = /^((?:[\w-]{1,63}\.)*(?!\d+\.?(?::|$))[\w-]{1,63}\.?)(?::(\d{1,5}))?$/.exec(value) ?? [];
  const wrong = port !== undefined && (Number(port) < 1 || Number(port) > 65_535);
  if (name === '' || name.length > 253 || wrong) return undefined;
  return { name, port: port === undefined ? undefined : Number(port) };
}

/** Undefined for what is none. A namespace's name, or its ARN, may hold a slash; a service's may not. */
export function readCloudMapName(value: string): { readonly namespace: string; readonly service: string } | undefined {
  const [, namespace, service] = /^([!-~]{1,1024})\/([\w.-]{1,127})$/.exec(value) ?? [];
  return namespace === undefined || service === undefined ? undefined : { namespace, service };
}
