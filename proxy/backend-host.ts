/** What a backend gets as `Host`. Pure. */

/**
 * `keep`: the client's; `origin`: the backend's own, as its origin names it; else what is to be said. Undefined is the
 * client's, but to a backend on loopback `localhost` and its port: servers that take requests from loopback refuse any
 * other name there, as they cannot tell a proxy from a page that rebinds its name (docs/decisions/0008-backend-host.md).
 */
export type BackendHost = string | undefined;

/** Undefined: the client's. */
export function hostFor(setting: BackendHost, origin: string): string | undefined {
  if (setting === 'keep') return undefined;
  if (setting === 'origin') return origin.slice(origin.indexOf('://') + 3);
  if (setting !== undefined) return setting;
  const [, port] = LOOPBACK.exec(origin) ?? [];
  return port === undefined ? undefined : `localhost${port}`;
}

const LOOPBACK = /^https?:\/\/(?:localhost|127\.\d+\.\d+\.\d+|\[::1\])(|:\d+)$/;
