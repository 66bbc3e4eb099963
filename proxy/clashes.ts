/** Options that are right alone and wrong together. Pure. */

import { isOwn } from './addresses.ts';
import { withoutSlash } from './admit.ts';
import { endpointOf } from './endpoint.ts';
import { type Read, shown } from './given.ts';
import type { OPTIONS } from './options.ts';

/** `listens`: the options are those of a proxy of its own. A sentence for each; never a value that is wrong by itself. */
export function clashes({ given, wanted }: Read, listens: boolean): readonly string[] {
  const first = (name: keyof typeof OPTIONS) => given.get(name)?.values[0] ?? '';
  const faults: string[] = [...discoveryClashes(given, wanted)];
  const ids = new Set<string>();
  for (const value of given.get('backends')?.values ?? []) {
    const id = hostAndPort(value);
    if (id !== undefined && ids.has(id)) {
      faults.push(`${given.get('backends')?.source}: expected each host and port once, got ${shown(value)} again`);
    }
    if (id !== undefined) ids.add(id);
    const listening = { host: first('host'), port: Number(first('port')) };
    if (listens && id !== undefined && isOwn(value, listening, () => [])) {
      faults.push(
        `${given.get('backends')?.source}: expected another address than the proxy's own, got ${shown(value)}`,
      );
    }
  }
  const paths = given.get('path')?.values ?? [];
  paths.forEach((path, at) => {
    if (paths.slice(0, at).some((other) => withoutSlash(other) === withoutSlash(path))) {
      faults.push(`${given.get('path')?.source}: expected each path once, got ${shown(path)} again`);
    }
  });
  if (paths.includes(first('healthPath'))) {
    const got = shown(first('healthPath'));
    faults.push(`${given.get('healthPath')?.source}: expected another path than the MCP endpoint's, got ${got}`);
  }
  const sameHost = first('opsHost') === '' || first('opsHost') === first('host');
  if (sameHost && Number(first('port')) !== 0 && Number(first('port')) === Number(first('opsPort'))) {
    faults.push(
      `${given.get('opsPort')?.source}: expected another port than the MCP port, got ${shown(first('opsPort'))}`,
    );
  }
  if (Number(first('lameDuckSeconds')) > Number(first('drainSeconds'))) {
    const { source } = given.get('lameDuckSeconds') ?? { source: wanted('lameDuckSeconds') };
    faults.push(
      `${source}: expected at most --drain-seconds (${first('drainSeconds')}), which counts it, got ${shown(first('lameDuckSeconds'))}`,
    );
  }
  const bodies = given.get('maxBodies');
  if (bodies !== undefined && Number(first('maxBodies')) < Number(first('maxBody'))) {
    const least = `at least --max-body (${first('maxBody')})`;
    faults.push(`${bodies.source}: expected ${least}, got ${shown(first('maxBodies'))}`);
  }
  return faults;
}

/** What says who the backends are, by the way of discovery. */
const WAYS = { static: 'backends', dns: 'dns', 'cloud-map': 'cloudMap' } as const;
const MISSING = {
  static: 'expected at least one backend, got nothing',
  dns: 'expected the DNS name of the backends, got nothing',
  'cloud-map': 'expected the namespace and service of the backends, as in mcp.local/server, got nothing',
};
type Way = keyof typeof WAYS;

/** The way of discovery where none is named: by what is given. */
export function discoveryOf(given: Read['given']): Way {
  if (given.has('dns')) return 'dns';
  return given.has('cloudMap') ? 'cloud-map' : 'static';
}

/** Each way of discovery has what it needs, and nothing of another. */
function discoveryClashes(given: Read['given'], wanted: Read['wanted']): readonly string[] {
  const chosen = given.get('discovery')?.values[0] ?? discoveryOf(given);
  if (!isWay(chosen)) return [];
  const own: readonly string[] = chosen === 'cloud-map' ? ['cloudMap', 'backendPort'] : [WAYS[chosen]];
  const strange = [...Object.values(WAYS), 'backendPort'].filter((name) => !own.includes(name));
  const faults = strange.flatMap((name) => {
    const said = given.get(name);
    const got = shown(said?.values[0] ?? '');
    return said ? [`${said.source}: expected nothing with ${chosen} discovery, got ${got}`] : [];
  });
  return given.has(WAYS[chosen]) ? faults : [...faults, `${wanted(WAYS[chosen])}: ${MISSING[chosen]}`];
}

function isWay(word: string): word is Way {
  return Object.hasOwn(WAYS, word);
}

/** What tells two backends apart; the scheme does not. */
function hostAndPort(value: string): string | undefined {
  if (!URL.canParse(value)) return undefined;
  const { host, port } = endpointOf(value);
  return `${host}:${port}`;
}
