/** Options that are right alone and wrong together. Pure. */

import { type Given, shown } from './given.ts';
import type { OPTIONS } from './options.ts';

/** A sentence for each; never a value that is wrong by itself. */
export function clashes(given: ReadonlyMap<string, Given>): readonly string[] {
  const first = (name: keyof typeof OPTIONS) => given.get(name)?.values[0] ?? '';
  const faults: string[] = [...discoveryClashes(given)];
  const ids = new Set<string>();
  for (const value of given.get('backends')?.values ?? []) {
    const id = hostAndPort(value);
    if (id !== undefined && ids.has(id)) {
      faults.push(`${given.get('backends')?.source}: expected each host and port once, got ${shown(value)} again`);
    }
    if (id !== undefined) ids.add(id);
  }
  if (first('healthPath') !== '' && first('healthPath') === first('path')) {
    faults.push(`${given.get('healthPath')?.source}: expected another path than --path, got ${shown(first('path'))}`);
  }
  const sameHost = first('opsHost') === '' || first('opsHost') === first('host');
  if (sameHost && Number(first('port')) !== 0 && Number(first('port')) === Number(first('opsPort'))) {
    faults.push(`${given.get('opsPort')?.source}: expected another port than --port, got ${shown(first('opsPort'))}`);
  }
  return faults;
}

/** Each way of discovery has what it needs, and nothing of another. */
function discoveryClashes(given: ReadonlyMap<string, Given>): readonly string[] {
  const { backends, dns } = { backends: given.get('backends'), dns: given.get('dns') };
  const chosen = given.get('discovery')?.values[0] ?? (dns ? 'dns' : 'static');
  const got = (said: Given): string => shown(said.values[0] ?? '');
  if (chosen === 'dns') {
    if (!dns) return ['--dns or DNS_NAME: expected the DNS name of the backends, got nothing'];
    return backends ? [`${backends.source}: expected no backend beside ${dns.source}, got ${got(backends)}`] : [];
  }
  if (chosen !== 'static') return [];
  const faults = dns ? [`${dns.source}: expected nothing with static discovery, got ${got(dns)}`] : [];
  return backends ? faults : [...faults, '--backend or BACKENDS: expected at least one backend, got nothing'];
}

/** What tells two backends apart; the scheme does not. */
function hostAndPort(value: string): string | undefined {
  if (!URL.canParse(value)) return undefined;
  const parsed = new URL(value);
  return `${parsed.hostname}:${parsed.port || (parsed.protocol === 'https:' ? '443' : '80')}`;
}
