/** Options in code become a configuration and its telemetry, or one error with all that is wrong. */
import { checkOptions } from './config.ts';
import type { Backends } from './contract.ts';
import { lentLogger, partFaults } from './lent.ts';
import type { AffinityOptions, ProxyOptions } from './library-options.ts';
import { holdsMetrics } from './telemetry/metrics.ts';
import { createTelemetry } from './telemetry/telemetry.ts';

/** A configuration that cannot be: one message with all its faults. */
export class ConfigurationError extends Error {
  override readonly name = 'ConfigurationError';
}

export function isOwn(backends: AffinityOptions['backends']): backends is Backends {
  return typeof backends === 'object' && !Array.isArray(backends);
}

/** `found` are faults that were found before; `listens`: there will be a line that says so. */
export function prepare(options: ProxyOptions, listens: boolean, found: readonly string[] = []) {
  // Who writes no types may say nothing at all.
  const { backends, sessions, logger, registry, owner, ...rest } = { ...options };
  const own = isOwn(backends) ? backends : undefined;
  const lacking = [
    ...partFaults({ sessions, backends: own, logger, registry }),
    ...(owner === undefined || typeof owner === 'function' ? [] : ['owner: expected a function of the request']),
  ];
  const parsed = checkOptions(own === undefined ? { ...rest, backends } : { ...rest, ...NOWHERE }, listens);
  const faults = [
    ...found,
    ...(own === undefined ? [] : unfit(rest, DISCOVERING, 'backends of your own')),
    ...lacking,
    ...(lacking.length === 0 && registry !== undefined && holdsMetrics(registry) ? [REGISTRY_TAKEN] : []),
    ...(parsed.kind === 'faults' ? parsed.faults : []),
  ];
  if (parsed.kind === 'faults' || faults.length > 0) throw new ConfigurationError(faults.join('; '));
  const { config } = parsed;
  const { logLevel: level, emf } = config;
  const telemetry = createTelemetry({
    level,
    emf,
    listens,
    registry,
    ...(logger && { destination: lentLogger(logger) }),
  });
  return { config, telemetry, given: { sessions, backends: own, owner } };
}

const DISCOVERING = ['dns', 'cloudMap', 'backendPort'] as const;
/** Stands for a list of backends where there is none: it is not used. */
const NOWHERE = { backends: ['http://nowhere.invalid'], dns: undefined, cloudMap: undefined, backendPort: undefined };
const REGISTRY_TAKEN =
  'registry: expected one that holds no metrics of mcp-affinity yet; give each its own, and serve each at a path of its own';

export function unfit(
  options: ProxyOptions,
  names: readonly (keyof ProxyOptions)[],
  beside: string,
): readonly string[] {
  return names.flatMap((name) => (options[name] === undefined ? [] : [`${name}: expected nothing with ${beside}`]));
}
