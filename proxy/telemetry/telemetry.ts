/** The one way out: what happened becomes metrics and JSON log lines. */

import type { Telemetry } from '../events.ts';
import { createLog } from './log.ts';
import type { Level, LogDestination } from './log.ts';
import { createMetrics } from './metrics.ts';
import type { Metrics, Registry } from './metrics.ts';

export type TelemetryOptions = {
  readonly level: Level;
  readonly destination?: LogDestination;
  /** A new one by default. */
  readonly registry?: Registry;
};

export type TelemetryWithMetrics = Telemetry & {
  /** The Prometheus text of everything counted, the process's own values included. */
  metrics(): Promise<string>;
  readonly contentType: string;
  /** Whom to ask, at each scrape, how many sessions live. */
  countSessions: Metrics['countSessions'];
};

/**
 * Records into a registry of its own and writes JSON lines to `destination` (stdout, without delay). The line `listening`
 * is always written, and first: earlier ones wait for it, or for a `fault` or `stopped` that comes instead. Session ids
 * are shown as the first 8 hex digits of their SHA-256, and never label a metric; nor does an address or a path.
 */
export function createTelemetry(options: TelemetryOptions): TelemetryWithMetrics {
  const metrics = createMetrics(options.registry);
  const log = createLog(options.level, options.destination);
  return {
    record(event) {
      try {
        metrics.count(event);
        log(event);
      } catch {
        // Neither a full disk nor a closed pipe may cost a client its answer.
      }
    },
    metrics: () => metrics.text(),
    contentType: metrics.contentType,
    countSessions: (read) => metrics.countSessions(read),
  };
}
