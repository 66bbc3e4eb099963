/** Which version of mcp-affinity this is. */
import { readFileSync } from 'node:fs';

/** From the nearest package.json upwards: beside proxy/ in the sources, above dist/ when built. `unknown` without one. */
export function version(directory = new URL('.', import.meta.url)): string {
  const up = new URL('..', directory);
  try {
    const manifest: unknown = JSON.parse(readFileSync(new URL('package.json', directory), 'utf8'));
    if (typeof manifest === 'object' && manifest && 'version' in manifest) return String(manifest.version);
  } catch {
    // None here: the next directory up is asked.
  }
  return up.href === directory.href ? 'unknown' : version(up);
}
