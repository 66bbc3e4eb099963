/** Who may knock: the Host and Origin checks against DNS rebinding (MCP 2025-11-25, "Security Warning"). Pure. */

export type GuardRules = {
  /** The address that is listened on. */
  readonly host: string;
  /** Host names without a port; undefined: loopback names on a loopback address, else any. */
  readonly allowedHosts: readonly string[] | undefined;
  /** Undefined: loopback origins on a loopback address, and the request's own host. */
  readonly allowedOrigins: readonly string[] | undefined;
  /** Origins that are allowed besides, and for which we do CORS. */
  readonly cors: readonly string[] | undefined;
};

const LOOPBACK_NAME = /^(localhost|127(\.\d{1,3}){3}|\[::1\])$/;

/** Whether a host name or an address is one of this machine's own. */
export function isLoopback(host: string | undefined): boolean {
  const bare = (host ?? '').replace(/^::ffff:/i, '');
  return LOOPBACK_NAME.test(bare) || bare === '::1';
}

/** Every request to the MCP port passes this one rule; a browser on another site's page does not. */
export function mayEnter(
  request: { host: string | undefined; origin: string | undefined },
  rules: GuardRules,
): boolean {
  const host = hostOf(`http://${request.host ?? ''}`);
  if (host === undefined) return false;
  const named =
    rules.allowedHosts?.includes(host.hostname) ?? (!isLoopback(rules.host) || LOOPBACK_NAME.test(host.hostname));
  if (!named) return false;
  return request.origin === undefined || mayCall(request.origin, request.host, rules);
}

/** Whether a page of this origin may call, if the request's Host is well. */
export function mayCall(origin: string, host: string | undefined, rules: GuardRules): boolean {
  const named = origin.toLowerCase();
  if (rules.cors?.includes(named) === true) return true;
  if (rules.allowedOrigins !== undefined) return rules.allowedOrigins.includes(named);
  const page = hostOf(origin);
  if (page === undefined) return false;
  return (
    page.host === hostOf(`http://${host ?? ''}`)?.host || (isLoopback(rules.host) && LOOPBACK_NAME.test(page.hostname))
  );
}

type Host = { readonly hostname: string; readonly host: string };

/** The same few names come with nearly every request, and reading one costs more than the rest of the rule. */
const read = new Map<string, Host>();
const MOST_READ = 100;
const LONGEST_READ = 300;

function hostOf(url: string): Host | undefined {
  const known = read.get(url);
  if (known !== undefined) return known;
  const host = readHost(url);
  if (read.size >= MOST_READ) read.clear();
  if (host !== undefined && url.length <= LONGEST_READ) read.set(url, host);
  return host;
}

function readHost(url: string): Host | undefined {
  if (!URL.canParse(url)) return undefined;
  const { hostname, port, protocol, pathname, username } = new URL(url);
  if (!protocol.startsWith('http') || hostname === '' || pathname !== '/' || username !== '') return undefined;
  return { hostname, host: `${hostname}:${port}` };
}
